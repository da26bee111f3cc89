"""Words that stand for on and off, as each maker writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daq.datatypes import Datatype, Description, Switch
from daq.errors import ReplyError


@dataclass(frozen=True, slots=True)
class Words(Datatype[bool]):
    """On or off in the instrument's own words; the first word of each is what it is told."""

    words: Mapping[str, bool]

    def parse(self, text: str) -> bool:
        try:
            return self.words[text.strip()]
        except KeyError as error:
            raise ReplyError(
                f"expected one of {', '.join(self.words)}, found {text[:80]!r}"
            ) from error

    def refuse(self, value: object) -> bool:
        return Switch().refuse(value)

    def format(self, value: bool) -> str:
        return next(word for word, meaning in self.words.items() if meaning is value)

    def describe(self) -> Description:
        return Switch().describe()
