import sys

import shop  # type: ignore[import-not-found]  # the page's code

command, first, second = sys.argv[1:]
try:
    answer = shop.start(first, second).id if command == "start" else shop.check(first, second).phone
except shop.Refused as refused:
    answer = str(refused)
sys.stdout.write(answer)
