"""All who take part, in the order of the table."""

from benchmarks.frontier import dense, local, ours, papers
from benchmarks.frontier.entrant import Entrant

ENTRANTS: dict[str, Entrant] = {
    entrant.name: entrant for entrant in (*dense.ENTRANTS, *papers.ENTRANTS, *ours.ENTRANTS, *local.ENTRANTS)
}
