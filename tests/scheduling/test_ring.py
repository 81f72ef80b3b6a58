"""An order in which anybody can leave."""

from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.ring import Linked, Ring


def drained(ring: Ring[Linked]) -> list[Linked]:
    members = []
    while (first := ring.first()) is not None:
        ring.remove(first)
        members.append(first)
    return members


@given(st.lists(st.integers(0, 5)))
def test_members_come_in_the_order_in_which_they_came_whoever_leaves(steps: list[int]) -> None:
    """Each step has one leave who is in, or come who is not."""
    ring: Ring[Linked] = Ring()
    members, order = [Linked() for _ in range(6)], list[Linked]()
    for member in (members[step] for step in steps):
        if member in order:
            ring.remove(member)
            order.remove(member)
        else:
            ring.append(member)
            order.append(member)
        assert ring.first() is (order[0] if order else None)
    assert drained(ring) == order


def test_who_is_in_no_ring_may_leave() -> None:
    ring: Ring[Linked] = Ring()
    member, stranger = Linked(), Linked()
    ring.append(member)
    ring.remove(stranger)
    assert drained(ring) == [member]


def test_who_left_one_ring_may_come_to_another() -> None:
    one: Ring[Linked] = Ring()
    two: Ring[Linked] = Ring()
    member = Linked()
    one.append(member)
    one.remove(member)
    two.append(member)
    assert one.first() is None
    assert drained(two) == [member]
