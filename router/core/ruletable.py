"""The rule table: patterns compiled into an immutable index that picks the rules an event matches.

Rows (branches of patterns) stand in buckets by the source they ask for (`ruletable_bucket.py`), each field of a bucket
has an index from values to sets of rows (`ruletable_index.py`), and generated code asks the fields of an event for
their sets and intersects them (`ruletable_code.py`): an event costs what its fields cost, not what the rules cost. What
the generated code cannot hold is walked through (`ruletable_walk.py`, `ruletable_values.py`). Both ways give the same
answer; neither knows buses, accounts or states of rules.

A table is a large base and a small overlay of changes, so that a change costs what the overlay costs: `with_rules` and
`without` make a new table that shares the rest, `merging` makes a new base in small steps, and `rebased` puts what has
changed meanwhile on top of it. Buckets are indexed, and readers compiled, when the first event wants them, unless
`prepare` has done so before.

JSON is strict: see `ruletable_values.py` for what that means for numbers, duplicate keys, surrogates and depth.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, Union

import msgspec
from msgspec import UNSET

from router.core.event import Event
from router.core.pattern import Pattern
from router.core.ruletable_bucket import Segment, sources_of
from router.core.ruletable_code import PERHAPS_DEEP_CHARS, NeedsCompleteReading, Reader, TooWide, joined, too_deep
from router.core.ruletable_index import Steps
from router.core.ruletable_lookup import STEPS_MAX, TooManySteps
from router.core.ruletable_values import NotAnObject, decode_object
from router.core.ruletable_walk import Walk

TAGGED_SOURCES_MAX = 256
"""Sources whose whole events are decoded in one go; those of others take a second decode."""

K = TypeVar("K")

_AFRESH = (msgspec.DecodeError, UnicodeEncodeError, RecursionError, NeedsCompleteReading)
"""Perhaps not JSON at all, perhaps only not in the shape of the Struct: the complete way tells."""


class MalformedDetail(ValueError):
    """`detail` is not the text of one JSON object; the message says what is wrong."""


class MalformedEvent(ValueError):
    """The event is not the text of one JSON object, or takes too many steps; the message says what is wrong."""


class _Source(msgspec.Struct):
    source: Any = UNSET


class _Nobody(msgspec.Struct, tag_field="source", tag="\ue000 nobody"):
    """Keeps the union a union: msgspec takes a lone Struct also where its tag is missing."""

    def match(self) -> tuple[Any, ...]:
        raise NeedsCompleteReading


class _NobodyElse(_Nobody, tag_field="source", tag="\ue000 nobody else"):
    pass


def _undecided(_: str) -> Any:
    raise NeedsCompleteReading


_source_of = msgspec.json.Decoder(_Source, float_hook=str.encode).decode


class RuleTable(Generic[K]):
    """An immutable set of rules by key; it answers with the keys of those that an event matches, each once.

    Keys are hashable and told apart by `==`. Their order is the same for the same rules in the same order.
    """

    def __init__(
        self,
        base: Segment[K],
        overlay: Segment[K],
        gone: frozenset[K],
        steps: Steps,
        readers: Mapping[str | None, Reader[K] | None],
    ) -> None:
        """`build` and the changing methods are the ways to make one."""
        self._base = base
        self._overlay = overlay
        self._gone = gone
        """The keys of the base that are no longer there, or stand anew in the overlay."""
        self._steps = steps
        self._readers = dict(readers)
        self._tagged: dict[str, type[msgspec.Struct]] = {
            "\ue000 nobody": _Nobody,
            "\ue000 nobody else": _NobodyElse,
        }
        self._whole: Callable[[str], Any] = _undecided
        self._untagged: dict[str | None, Callable[[str], Any]] = {}

    @classmethod
    def build(cls, rules: Iterable[tuple[K, Pattern]]) -> "RuleTable[K]":
        """A table of these rules, all of it in the base; of a key given twice the last rule counts."""
        steps = Steps()
        empty: Segment[K] = Segment(steps)
        return cls(empty.changed(rules), empty, frozenset(), steps, {})

    # changing

    def __len__(self) -> int:
        return len(self._base.rules) - len(self._gone) + len(self._overlay.rules)

    @property
    def changes(self) -> int:
        """How many changes stand beside the base."""
        return len(self._overlay.rules) + len(self._gone)

    def with_rules(self, rules: Iterable[tuple[K, Pattern]]) -> "RuleTable[K]":
        """The table with these rules; a rule that is there already is put anew."""
        return self.changed(list(rules), ())

    def without(self, keys: Iterable[K]) -> "RuleTable[K]":
        """The table without these rules; keys that are not there do no harm."""
        return self.changed((), list(keys))

    def changed(self, coming: Sequence[tuple[K, Pattern]], leaving: Sequence[K]) -> "RuleTable[K]":
        """Both in one step: without the leaving rules, then with those that come."""
        keys = [*leaving, *(key for key, _ in coming)]
        base = self._base.rules
        gone = self._gone.union(key for key in keys if key in base)
        overlay = self._overlay.changed(coming, leaving)
        old = [rules[key] for rules in (base, self._overlay.rules) for key in keys if key in rules]
        touched = {source for pattern in (*old, *(pattern for _, pattern in coming)) for source in sources_of(pattern)}
        # A reader is for the rules of its source and of any source; the others' can stay.
        stay = {} if None in touched else {source: it for source, it in self._readers.items() if source not in touched}
        return RuleTable(self._base, overlay, gone, self._steps, stay)

    def merging(self) -> Generator[None, None, "RuleTable[K]"]:
        """The same rules, all in the base: it pauses about every millisecond, and ends with the new table."""
        base = yield from self._base.changing(self._overlay.rules.items(), self._gone)
        for bucket in base.buckets():
            yield from bucket.prepare()
        # A reader is for buckets: where those are the same it can stay, unless it looks for what is gone.
        stay = {} if self._gone else {of: it for of, it in self._readers.items() if self._same_buckets(of, base)}
        return RuleTable(base, Segment(self._steps), frozenset(), self._steps, stay)

    def _same_buckets(self, source: str | None, base: Segment[K]) -> bool:
        sources = [] if source is None else [source]
        mine = [*self._base.buckets_for(sources), *self._overlay.buckets_for(sources)]
        return mine == base.buckets_for(sources)

    def merged(self) -> "RuleTable[K]":
        """`merging` without pauses."""
        merging = self.merging()
        while True:  # ends with the merge
            try:
                next(merging)
            except StopIteration as done:
                table: RuleTable[K] = done.value
                return table

    def rebased(self, merged: "RuleTable[K]", start: "RuleTable[K]") -> "RuleTable[K]":
        """This table on the base of `merged`, which was merged from `start`, of which this one is made by changes."""
        mine, before = self._overlay.rules, start._overlay.rules
        coming = [(key, pattern) for key, pattern in mine.items() if before.get(key) is not pattern]
        leaving = [key for key in before if key not in mine]
        leaving += self._gone - start._gone
        return merged.changed(coming, leaving) if coming or leaving else merged

    def prepare(self) -> Iterator[None]:
        """Index all buckets now, in steps of about a millisecond."""
        for segment in (self._base, self._overlay):
            for bucket in segment.buckets():
                yield from bucket.prepare()

    # matching

    def match(self, event: Event) -> Sequence[K]:
        """The keys of the rules that `event` matches.

        MalformedDetail if its detail is no JSON object, which is checked even where no rule looks at it; TooManySteps
        where that takes more than STEPS_MAX steps.
        """
        self._steps.left = STEPS_MAX
        reader = self._readers.get(event.source) or self._reader(event.source)
        try:
            detail = event.detail
            if reader is None or (len(detail) > PERHAPS_DEEP_CHARS and too_deep(detail)):
                raise NeedsCompleteReading
            return reader.match(event, reader.decode_detail(detail))
        except _AFRESH:
            return self._match_completely(event)

    def match_json(self, event: bytes | str) -> Sequence[K]:
        """The same for the text of any JSON object; MalformedEvent if it is none."""
        self._steps.left = STEPS_MAX
        text = event if type(event) is str else _decoded(event)
        try:
            if len(text) > PERHAPS_DEEP_CHARS and too_deep(text):
                raise NeedsCompleteReading
            found: tuple[K, ...] = self._whole(text).match()
            return found
        except TooManySteps as error:
            raise MalformedEvent(str(error)) from None
        except _AFRESH:
            return self._match_json_afresh(text)

    def _match_completely(self, event: Event) -> tuple[K, ...]:
        try:
            detail = decode_object(event.detail)
        except NotAnObject as error:
            raise MalformedDetail(str(error)) from None
        whole: dict[str, Any] = {
            "version": "0",
            "id": event.id,
            "detail-type": event.detail_type,
            "source": event.source,
            "account": event.account,
            "time": event.time,
            "region": event.region,
            "resources": list(event.resources),
            "detail": detail,
        }
        if event.replay_name is not None:
            whole["replay-name"] = event.replay_name
        return self._walk(whole)

    # whole events

    def _untagged_decoder(self, source: str | None) -> Callable[[str], Any]:
        found = self._untagged.get(source)
        if found is None:
            reader = self._reader(source)
            if reader is None:
                raise NeedsCompleteReading
            try:
                struct = reader.whole(None)
            except TooWide:
                raise NeedsCompleteReading from None
            found = self._untagged[source] = msgspec.json.Decoder(struct, float_hook=str.encode).decode
        return found

    def _match_json_afresh(self, text: str) -> tuple[K, ...]:
        """An event that the decoder does not take (yet), or must not."""
        try:
            found = None if too_deep(text) else self._match_struct(text)
        except TooManySteps as error:
            raise MalformedEvent(str(error)) from None
        except _AFRESH:
            found = None
        if found is not None:
            return found
        try:
            return self._walk(decode_object(text))
        except (NotAnObject, TooManySteps) as error:
            raise MalformedEvent(str(error)) from None

    def _match_struct(self, text: str) -> tuple[K, ...] | None:
        """Learn to decode such events, if they can be; None where that has been tried. Raises what decoders raise.

        Where rules ask for sources the decoder is for a union by source, which takes in a source when it is first seen.
        """
        found: tuple[K, ...] | None = None
        if not (self._base.by_source or self._overlay.by_source):
            if self._whole is _undecided:
                self._whole = self._untagged_decoder(None)
                found = self._whole(text).match()
            return found
        source = _source_of(text).source
        if source is UNSET:
            found = self._untagged_decoder(None)(text).match()
        elif type(source) is str and source not in self._tagged:
            if len(self._tagged) < TAGGED_SOURCES_MAX and self._tag(source):
                found = self._whole(text).match()
            else:
                known = source in self._base.by_source or source in self._overlay.by_source
                found = self._untagged_decoder(source if known else None)(text).match()
        return found

    def _tag(self, source: str) -> bool:
        """Take the source's events into the union; False where no Struct can hold them."""
        reader = self._reader(source)
        if reader is None:
            return False
        try:
            self._tagged[source] = reader.whole(source)
        except TooWide:
            return False
        union: Any = Union[tuple(self._tagged.values())]  # noqa: UP007 - of as many as there are
        self._whole = msgspec.json.Decoder(union, float_hook=str.encode).decode
        return True

    # reading

    def _reader(self, source: str | None) -> Reader[K] | None:
        """The reader for a source, kept; None where the complete way is the only one."""
        if source is not None and source not in self._base.by_source and source not in self._overlay.by_source:
            # Kept once for all of them: there is no bound on what producers call themselves.
            source = None
        if source in self._readers:
            return self._readers[source]
        in_base = self._base.buckets_for([] if source is None else [source])
        in_overlay = self._overlay.buckets_for([] if source is None else [source])
        gone = self._gone
        reader: Reader[K] | None = None
        with suppress(TooWide):
            reader = Reader(
                [*in_base, *in_overlay],
                lambda functions: joined(functions[: len(in_base)], functions[len(in_base) :], gone),
                self._base.ranks or self._overlay.ranks,
                self._steps,
            )
        self._readers[source] = reader
        return reader

    def _walk(self, event: Mapping[str, Any]) -> tuple[K, ...]:
        """The complete way, for any object as `decode_object` gives it. Raises TooManySteps."""
        given = event.get("source")
        sources = [given] if type(given) is str else _strings(given) if type(given) is list else []
        in_base = self._base.buckets_for(sources)
        in_overlay = self._overlay.buckets_for(sources)
        buckets = [bucket.ready() for bucket in (*in_base, *in_overlay)]
        walk: Walk[K] = Walk(event, self._steps, lambda: frozenset[str]().union(*(bucket.paths for bucket in buckets)))
        found = [key for bucket in in_base for key in walk.matching(bucket) if key not in self._gone]
        found += [key for bucket in in_overlay for key in walk.matching(bucket)]
        return tuple(dict.fromkeys(found))


def _decoded(event: bytes | str) -> str:
    try:
        return event if isinstance(event, str) else event.decode()
    except UnicodeDecodeError as error:
        raise MalformedEvent(f"expected UTF-8, got {error}") from None


def _strings(values: list[Any]) -> list[str]:
    """The strings in an array, in arrays too."""
    found: list[str] = []
    waiting = [values]
    while waiting:
        for value in waiting.pop():
            if type(value) is str:
                found.append(value)
            elif type(value) is list:
                waiting.append(value)
    return found


def matches(pattern: Pattern, event_json: str) -> bool:
    """Whether one pattern matches one event; MalformedEvent if the text is not one JSON object.

    It walks, which for one event is cheaper than to compile.
    """
    table = RuleTable.build([(None, pattern)])
    table._steps.left = STEPS_MAX
    try:
        return bool(table._walk(decode_object(event_json)))
    except (NotAnObject, TooManySteps) as error:
        raise MalformedEvent(str(error)) from None
