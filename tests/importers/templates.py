"""What the tests of templates share: a place, a way to resolve a value, and a hub that answers from memory."""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from router.core.event import Location
from router.importers.apply import Deed, Deeds, Forget, Save, Told, deploying
from router.importers.document import TemplateRefused
from router.importers.drive import drive
from router.importers.kinds import Call, CallRefused, Where
from router.importers.record import StackRecord
from router.importers.stack import Given, Stack

WHERE = Where(Location("111111111111", "us-east-1"), "shop")
PATTERN = {"source": ["shop"]}


def stack(text: str, **given: Any) -> Stack:
    return Stack(Given(template=text.encode(), where=WHERE, **given))


def problems(text: str, **given: Any) -> list[str]:
    """Everything that a template is refused for."""
    try:
        stack(text, **given)
    except TemplateRefused as refused:
        return refused.problems
    return []


def written(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document))


def rule(description: str, *, above: str = "") -> str:
    """A template whose one rule has this YAML as its description, after other sections."""
    return (
        f"{above}\nResources:\n  Rule:\n    Type: AWS::Events::Rule\n    Properties:\n"
        f"      EventPattern: {{source: [shop]}}\n      Description: {description}\n"
    )


def described(description: str, *, above: str = "", **given: Any) -> Any:
    """What the description becomes."""
    return stack(rule(description, above=above), **given).plan.steps[0].properties.get("Description")


def refused(description: str, *, above: str = "", **given: Any) -> list[str]:
    return problems(rule(description, above=above), **given)


class FakeHub:
    """Answers calls from what earlier calls made, so far as deployments look; refuses what it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.told: list[str] = []
        self.things: dict[tuple[str, str], dict[str, Any]] = {}
        self.record: StackRecord | None = None
        self.refuses: dict[str, str] = {}
        """Actions that are refused, with the message."""

    def deploy(self, text: str, **given: Any) -> StackRecord:
        made: StackRecord = drive(deploying(stack(text, record=self.record, **given)), self.do)
        return made

    def run(self, deeds: Deeds) -> Any:
        return drive(deeds, self.do)

    def actions(self) -> list[str]:
        """The calls that changed something, since the last time."""
        names = [call.action for call in self.calls if not call.action.startswith(("Describe", "Get", "List"))]
        self.calls.clear()
        return names

    def do(self, deed: Deed) -> Any:
        match deed:
            case Told():
                self.told.append(deed.text)
                return None
            case Save():
                version = self.record.version if self.record else 0
                assert deed.record.version == version, "a write must know the latest version"
                raw = msgspec.json.encode(msgspec.structs.replace(deed.record, version=version + 1))
                self.record = msgspec.json.decode(raw, type=StackRecord)
                return self.record.version
            case Forget():
                self.record = None
                return None
            case Call():
                self.calls.append(deed)
                if deed.action in self.refuses:
                    raise CallRefused("ValidationException", self.refuses[deed.action])
                return self._answer(deed.action, deed.request)

    def _answer(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        msgspec.json.encode(request)
        verb, noun = next((verb, action[len(verb) :]) for verb in _VERBS if action.startswith(verb))
        name = str(request.get("Name") or request.get("ArchiveName") or request.get("QueueName") or "")
        name = name or str(request.get("QueueUrl", "")).rpartition("/")[2]
        if noun == "QueueUrl":
            verb, noun = "Describe", "Queue"
        key = (noun, f"{request.get('EventBusName', '')}/{name}" if noun == "Rule" else name)
        if verb == "Create" or action == "PutRule":
            if verb == "Create" and key in self.things:
                raise CallRefused("ResourceAlreadyExistsException", f"{noun} {name} already exists.")
            self.things[key] = {**request}
        elif verb in ("Describe", "Update") and key not in self.things and noun != "EventBus":
            raise CallRefused(
                "QueueDoesNotExist" if noun == "Queue" else "ResourceNotFoundException",
                f"{noun} {name} does not exist.",
            )
        elif verb == "Describe" and key not in self.things and name not in ("", "default"):
            raise CallRefused("ResourceNotFoundException", f"Event bus {name} does not exist.")
        elif verb == "Delete":
            self.things.pop(key, None)
        return {
            "Targets": [],
            "QueueUrl": f"http://hub/111111111111/{name}",
            "ConnectionArn": f"arn:aws:events:us-east-1:111111111111:connection/{name}/uuid-1",
            "SecretArn": f"arn:aws:secretsmanager:us-east-1:111111111111:secret:events!connection/{name}/uuid-1",
            "ApiDestinationArn": f"arn:aws:events:us-east-1:111111111111:api-destination/{name}/uuid-2",
        }


_VERBS = ("Create", "Put", "Describe", "Delete", "Update", "Remove", "List", "Get", "Set", "Tag", "Untag")
