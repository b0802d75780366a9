"""A page to explore, in one file without server or network: what every result allows, for constants that sliders change."""

from stablestep.explore.document import explore, page

__all__ = ["explore", "page"]
