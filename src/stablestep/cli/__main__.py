from stablestep.cli import main

main()
