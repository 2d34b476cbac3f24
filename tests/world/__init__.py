"""
Simulated fortnights of a fleet whose truth is known, put through the monitor, and the judgement of every message.

    python -m tests.world --seed 3 --days 10.5            the table of one world
    python -m tests.world --seed 3 --days 2 --report      and every message that was false, missing, late or superfluous
    python -m tests.world --seeds 1-10 --days 2           the table of ten worlds together
    python -m tests.world --seed 3 --days 2 --messages    every message beside what truly happened

`--small` takes a fleet of two to four connections on each platform. In Python: `score(run(generate(seed, days)))`.
"""
