from benchmarks.frontier.command import app

app()
