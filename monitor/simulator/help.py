"""The page at `/_sim/`: everything that can be done, with lines to copy."""

from monitor.simulator import garbage
from monitor.simulator.world import World

_PAGE = """\
The simulated PostPost. Every line below can be copied; S is this address:

  S=http://{host}/_sim

Look
  curl $S/state  # everything; ?id=linkedin-* &account= &user= &last=20 narrow it down
  curl $S/requests?last=20  # what was asked: totals, statuses, the latest requests

One connection (its id, or a pattern with *; ?account=NAME&user=ID when several share the id)
  curl -X POST $S/connections/{id}/break -d '{{"message": "Token has been revoked"}}'
  curl -X POST $S/connections/{id}/heal
  curl -X POST $S/connections/{id}/expire
  curl -X POST $S/connections/{id}/expires-in -d '{{"in": "6d"}}'
  curl -X POST $S/connections/{id}/renew -d '{{"in": "60d"}}'
  curl -X POST $S/connections/{id}/post-failed -d '{{"message": "Invalid image format"}}'
  curl -X POST $S/connections/{id}/posted
  curl -X POST $S/connections/{id}/permissions -d '{{"remove": ["w_member_social"]}}'
  curl -X POST $S/connections/{id}/flag  # the list says expired (September generation)
  curl -X POST $S/connections/{id}/vanish -d '{{"only_listing": false}}'
  curl -X POST $S/connections/{id}/appear
  curl -X POST $S/connections -d '{{"id": "linkedin-New1", "account": "main"}}'

Misbehave: at connections/ID, accounts/NAME, users/ID or api; add "times": 2 to do it twice only
  curl -X POST $S/connections/{id}/slow -d '{{"for": "20s"}}'
  curl -X POST $S/connections/{id}/hang
  curl -X POST $S/connections/{id}/drip -d '{{"every": "400ms", "where": "body"}}'  # where: body, headers, start
  curl -X POST $S/connections/{id}/drop -d '{{"where": "body"}}'
  curl -X POST $S/connections/{id}/answer -d '{{"status": 500, "body": {{"error": "Failed to test connection"}}}}'
  curl -X POST $S/connections/{id}/gateway -d '{{"status": 502}}'
  curl -X POST $S/connections/{id}/redirect -d '{{"location": "https://example.com/"}}'
  curl -X POST $S/connections/{id}/garbage -d '{{"name": "truncated"}}'
  curl -X POST $S/connections/{id}/play -d '{{"steps": [{{"do": "answer", "status": 503, "times": 2}}, {{"do": "normal"}}]}}'
  curl -X POST $S/connections/{id}/behave-normally
  garbage: {garbage}

The account
  curl -X POST $S/accounts/{account}/revoke
  curl -X POST $S/accounts/{account}/restore
  curl -X POST $S/accounts/{account}/throttle -d '{{"retry_after": "30s", "in_body": false}}'
  curl -X POST $S/accounts/{account}/forbid  # also lose-owner, forbid-mcp, forbid-workspaces, allow-workspaces, crash
  curl -X POST $S/accounts/{account}/add-key -d '{{"key": "sk_new"}}'
  curl -X POST $S/users/ID/detach  # also attach

The API as a whole
  curl -X POST $S/api/down  # connections close without an answer
  curl -X POST $S/api/up
  curl -X POST $S/api/latency -d '{{"min": "100ms", "max": "900ms"}}'
  curl -X POST $S/api/generation -d '{{"to": "september"}}'
  curl -X POST $S/api/brand -d '{{"to": "publora"}}'
  curl -X POST $S/api/rounding -d '{{"to": "nearest"}}'  # floor, nearest, ceil
  curl -X POST $S/api/day-texts -d '{{"on": true}}'  # "29 days" in place of "29d 3h"
  curl -X POST $S/api/two-part-ids -d '{{"on": true}}'  # ids with a second dash are refused

Time (of the simulated PostPost only)
  curl -X POST $S/clock -d '{{"advance": "3d"}}'  # also rewind, set
  curl -X POST $S/clock -d '{{"speed": 3600}}'  # an hour each second

Start over
  curl -X POST $S/reset
  curl -X POST $S/requests/clear
"""


def help_page(world: World, host: str = "127.0.0.1:9841") -> str:
    """The page, with an account and a connection of *world* in its examples."""
    account = next(iter(world.accounts), "main")
    shown = next((it.platform_id for _, _, it in world.every()), "linkedin-Tz9W5i6ZYG")
    return _PAGE.format(host=host, id=shown, account=account, garbage=", ".join(garbage.NAMES))
