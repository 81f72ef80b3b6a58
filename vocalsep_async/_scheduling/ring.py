"""An order in which anybody can leave: a doubly linked list that costs two references a member.

A queue from which members leave in the middle would keep places for those who left; here nothing
is kept, and leaving takes no search.
"""

from __future__ import annotations

from typing import Generic, TypeVar, cast


class Linked:
    """Something that can be a member of one ring at a time."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.after: Linked | None = None
        self.before: Linked | None = None


M = TypeVar("M", bound=Linked)


class Ring(Generic[M]):
    """Members in the order in which they came."""

    def __init__(self) -> None:
        root = self._root = Linked()
        root.before = root.after = root

    def first(self) -> M | None:
        """The member that came first; None if there is none."""
        first = self._root.after
        return None if first is self._root else cast("M", first)

    def append(self, member: M) -> None:
        """Add *member* at the end, or move it there."""
        self.remove(member)
        _link(cast("Linked", self._root.before), member)
        _link(member, self._root)

    def remove(self, member: M) -> None:
        """Take *member* out, if it is in."""
        if member.before is not None and member.after is not None:
            _link(member.before, member.after)
            member.before = member.after = None


def _link(before: Linked, after: Linked) -> None:
    before.after, after.before = after, before
