"""How a run is started: private namespaces, one worker process in each, and the program of a worker."""
