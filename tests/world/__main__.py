"""`python -m tests.world`; see the package."""

import argparse
import sys
import time

import tests.world as package
from tests.world.generate import generate
from tests.world.judge import score
from tests.world.run import run
from tests.world.score import Score, clock, report, table
from tests.world.truth import Occurrence


def main(words: list[str]) -> int:
    """Print the table of the worlds that *words* name."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.world", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", help="several, such as 1-10")
    parser.add_argument("--days", type=float, default=10.5)
    parser.add_argument("--small", action="store_true", help="a fleet of two to four connections on each platform")
    parser.add_argument("--report", action="store_true", help="every message that was false, missing, late or superfluous")
    parser.add_argument("--messages", action="store_true", help="every message")
    parser.add_argument("--events", action="store_true", help="everything that happens")
    options = parser.parse_args(words)
    first, _, last = (options.seeds or str(options.seed)).partition("-")
    total, began = Score(), time.process_time()
    for seed in range(int(first), int(last or first) + 1):
        world = generate(seed, options.days, small=options.small)
        if options.events:
            print(*map(_event, world.occurrences), sep="\n")
        result = run(world)
        for message in result.messages if options.messages else ():
            print(clock(message.at), message.notification.type, message.notification.severity, message.text)
        total.add(score(result))
    if options.report:
        print(*report(total), sep="\n")
    print(*table(total), sep="\n")
    print(f"{'CPU seconds':<52} {time.process_time() - began:.1f}")
    return 0


def _event(each: Occurrence) -> str:
    texts = " / ".join(spell.text[:60] for spell in each.spells)
    return f"{clock(each.begins)} - {clock(each.ends)}  {each.kind} {each.where} {each.members or ''} {each.reason or ''} {texts}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
