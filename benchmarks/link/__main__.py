import sys

from benchmarks.link import options, sandbox

options.parse(sys.argv[1:])
sandbox.enter("benchmarks.link.inside", sys.argv[1:])
