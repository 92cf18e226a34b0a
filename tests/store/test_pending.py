"""What waits to be written keeps its order, whatever becomes of the segment that it was framed for."""

from appraise.store.chain import Frame, Link, scan
from appraise.store.pending import Batch, Pending

START = Link(7, b"\1" * 32)


def bodies(batch: Batch) -> list[bytes]:
    return [piece.body for piece in scan(bytes(batch.frames)) if isinstance(piece, Frame)]


def test_records_are_framed_as_they_come_and_follow_the_chain():
    pending = Pending()
    pending.follow(START, 10_000)
    pending.add(b"{1}")
    pending.add(b"{22}")
    batch = pending.take()
    (first, second) = scan(bytes(batch.frames))
    assert (first.position, first.previous) == START
    assert (second.position, second.previous) == (8, first.digest)
    assert (batch.count, batch.size, batch.link) == (2, 7, Link(9, second.digest))
    pending.add(b"{3}")
    (third,) = scan(bytes(pending.take().frames))
    assert (third.position, third.previous) == batch.link
    assert not pending


def test_a_segment_takes_what_it_has_room_for_and_the_next_one_goes_on():
    pending = Pending()
    pending.follow(Link(), 100)
    for number in range(5):
        pending.add(b"x" * 40 + b"%d" % number)
    first = pending.take()
    assert pending.held_up
    pending.add(b"last")
    pending.frame_some()
    assert pending.take() is None
    pending.follow(Link(), 10_000)
    pending.frame_some()
    assert bodies(first) + bodies(pending.take()) == [*(b"x" * 40 + b"%d" % number for number in range(5)), b"last"]


def test_what_could_not_be_written_comes_first_in_another_segment():
    pending = Pending()
    pending.follow(Link(), 10_000)
    pending.add(b"a")
    lost = pending.take()
    pending.add(b"b")
    pending.give_back(lost)
    pending.add(b"c")
    assert pending.take() is None
    pending.follow(START, 10_000)
    pending.frame_some()
    again = pending.take()
    assert bodies(again) == [b"a", b"b", b"c"]
    assert next(iter(scan(bytes(again.frames)))).previous == START.digest


def test_nothing_more_is_framed_for_a_segment_that_is_to_end():
    pending = Pending()
    pending.follow(Link(), 10_000)
    for _ in range(64):
        pending.add(b"a")
    pending.halt()
    pending.add(b"b")
    assert bodies(pending.take()) == [b"a"] * 64
    assert pending.take() is None
    assert pending.first(5) == [b"b"]


def test_many_that_waited_for_a_segment_are_taken_some_at_a_time_and_in_order():
    pending = Pending()
    numbers = [b"%d" % number for number in range(1000)]
    for number in numbers:
        pending.add(number)
    pending.follow(START, 1_000_000)
    taken = []
    while pending:
        batch = pending.take()
        assert pending.held_up == bool(pending)
        taken.append(bodies(batch))
    assert [body for some in taken for body in some] == numbers
    assert max(map(len, taken)) < 300


def test_a_few_that_came_while_others_were_written_wait_for_the_next_time():
    pending = Pending()
    pending.follow(START, 1_000_000)
    for number in range(200):
        pending.add(b"%d" % number)
    first = pending.take()
    pending.add(b"later")
    assert not pending.held_up
    assert bodies(first) + bodies(pending.take()) == [*(b"%d" % number for number in range(200)), b"later"]
