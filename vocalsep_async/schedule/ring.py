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
        self.after: Linked = self
        self.before: Linked = self


M = TypeVar("M", bound=Linked)


class Ring(Generic[M]):
    """Members in the order in which they came."""

    def __init__(self) -> None:
        self._root = Linked()

    def first(self) -> M | None:
        """The member that came first; None if there is none."""
        first = self._root.after
        return None if first is self._root else cast("M", first)

    def append(self, member: M) -> None:
        """Add *member*, who is in no ring, at the end."""
        root = self._root
        member.before, member.after = root.before, root
        root.before.after = root.before = member

    def remove(self, member: M) -> None:
        """Take *member* out, if it is in."""
        member.before.after, member.after.before = member.after, member.before
        member.after = member.before = member
