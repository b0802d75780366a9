import sys

from benchmarks.link import options
from benchmarks.link.launch import namespaces

options.parse(sys.argv[1:])
namespaces.enter("benchmarks.link.measure", sys.argv[1:])
