"""
What each service documents about the bodies it takes, as JSON schemas for `tests/jsonschema.py`.

Sources:
    slack         docs.slack.dev: incoming webhooks; header (150), section (3000, fields 10 x 2000), context (10) blocks; 50 blocks
    discord       discord.com/developers: Execute Webhook, Embed Limits (256, 4096, 25 x 256/1024, 2048; 6000 in all), Allowed Mentions
    teams         adaptivecards.io/schemas 1.4 (AdaptiveCard, RichTextBlock, TextRun, Action.OpenUrl); Teams: 28 KB, `message` envelope
    pagerduty     PagerDuty/api-schema, reference/events-v2/openapiv3.json; PD-CEF: summary 1024, dedup_key 255
    opsgenie      opsgenie/opsgenie-oas, definitions/alert.yaml; Alert API: message 130, alias 512, description 15000, tags 20 x 50, ...
    alertmanager  prometheus/alertmanager, api/v2/openapi.yaml (postableAlerts)
"""

from typing import Any


def text(limit: int = 100_000, pattern: str = r"\S") -> dict[str, Any]:
    """A text that is not blank."""
    return {"type": "string", "maxLength": limit, "pattern": pattern}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def several(items: dict[str, Any], limit: int) -> dict[str, Any]:
    """A list of at most *limit*."""
    return {"type": "array", "items": items, "maxItems": limit}


TIME = text(40, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$")
LINK = text(2000, r"^https?://[^\s<>|\"]+$")


def plain(limit: int) -> dict[str, Any]:
    """A plain_text object of Block Kit."""
    return closed(["type", "text", "emoji"], type={"const": "plain_text"}, text=text(limit), emoji={"const": False})


_SLACK_LINK = closed(
    ["type", "text"],
    type={"const": "mrkdwn"},
    text=text(3000, r"^<https?://[^\s<>|]+\|[A-Z][a-z ]+>( · <https?://[^\s<>|]+\|[A-Z][a-z ]+>)*$"),
)
_SLACK_BLOCK = {
    "anyOf": [
        closed(["type", "text"], type={"const": "header"}, text=plain(150)),
        closed(["type", "text"], type={"const": "section"}, text={"anyOf": [plain(3000), _SLACK_LINK]}),
        closed(["type", "fields"], type={"const": "section"}, fields=several(plain(2000), 10)),
        closed(["type", "elements"], type={"const": "context"}, elements=several(plain(3000), 10)),
    ]
}
_FALSE = {"const": False}
SLACK = closed(
    ["text", "blocks", "mrkdwn", "link_names", "parse"],
    text=text(4000),
    blocks=several(_SLACK_BLOCK, 50),
    mrkdwn=_FALSE,
    link_names=_FALSE,
    parse={"const": "none"},
    unfurl_links=_FALSE,
    unfurl_media=_FALSE,
)

_EMBED = closed(
    ["title", "description"],
    title=text(256),
    description=text(4096),
    color={"type": "integer"},
    timestamp=TIME,
    fields=several(closed(["name", "value"], name=text(256), value=text(1024), inline={"type": "boolean"}), 25),
    footer=closed(["text"], text=text(2048)),
)
DISCORD = closed(
    ["embeds", "allowed_mentions"], embeds=several(_EMBED, 10), allowed_mentions=closed(["parse"], parse=several({"enum": []}, 0))
)

_RUN = closed(
    ["type", "text"],
    type={"const": "TextRun"},
    text=text(),
    weight={"enum": ["default", "lighter", "bolder"]},
    size={"enum": ["default", "small", "medium", "large", "extraLarge"]},
    color={"enum": ["default", "dark", "light", "accent", "good", "warning", "attention"]},
    isSubtle={"type": "boolean"},
)
_BLOCK = closed(["type", "inlines"], type={"const": "RichTextBlock"}, inlines=several(_RUN, 10))
_OPEN_URL = closed(["type", "title", "url"], type={"const": "Action.OpenUrl"}, title=text(), url=LINK)
_CARD = closed(
    ["type", "version", "body"],
    **{"$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"}},
    type={"const": "AdaptiveCard"},
    version={"const": "1.4"},
    body=several(_BLOCK, 60),
    actions=several(_OPEN_URL, 6),
)
_ATTACHMENT = closed(
    ["contentType", "content"],
    contentType={"const": "application/vnd.microsoft.card.adaptive"},
    contentUrl={"type": "null"},
    content=_CARD,
)
TEAMS = closed(["type", "attachments"], type={"const": "message"}, attachments=several(_ATTACHMENT, 1))

_PAYLOAD = closed(
    ["summary", "source", "severity"],
    summary=text(1024),
    source=text(),
    severity={"enum": ["critical", "error", "warning", "info"]},
    timestamp=TIME,
    component=text(),
    group=text(),
    custom_details={"type": "object"},
    **{"class": text()},
)
PAGERDUTY = {
    "anyOf": [
        closed(
            ["routing_key", "event_action", "dedup_key", "payload"],
            routing_key=text(32, r"^[0-9a-z]{32}$"),
            event_action={"const": "trigger"},
            dedup_key=text(255),
            client=text(),
            client_url=LINK,
            links=several(closed(["href"], href=LINK, text=text()), 10),
            payload=_PAYLOAD,
        ),
        closed(
            ["routing_key", "event_action", "dedup_key"],
            routing_key=text(32, r"^[0-9a-z]{32}$"),
            event_action={"const": "resolve"},
            dedup_key=text(255),
        ),
    ]
}

OPSGENIE_CREATE = closed(
    ["message", "alias"],
    message=text(130),
    alias=text(512),
    description=text(15_000),
    details={"type": "object", "additionalProperties": text(8000)},
    entity=text(512),
    source=text(100),
    user=text(100),
    note=text(25_000),
    priority={"enum": ["P1", "P2", "P3", "P4", "P5"]},
    tags=several(text(50), 20),
)
OPSGENIE_CLOSE = closed([], user=text(100), source=text(100), note=text(25_000))

_LABEL_SET = {"type": "object", "additionalProperties": text()}
ALERTMANAGER = several(closed(["labels"], labels=_LABEL_SET, annotations=_LABEL_SET, startsAt=TIME, endsAt=TIME, generatorURL=LINK), 1000)
