"""Frames and their chain: what is altered, removed, reordered, inserted or torn is seen."""

import itertools

from appraise.store.chain import ORIGIN, OVERHEAD, Damage, Frame, Link, digest_of, framed, scan

BODIES = [f'{{"prediction_id":"{number}","prediction":{number}.5}}'.encode() for number in range(6)]


def _whole() -> bytes:
    return framed(BODIES, Link())[0]


def test_frames_come_back_as_they_were_written():
    data, link = framed(BODIES, Link())
    frames = list(scan(data))
    assert [frame.body for frame in frames] == BODIES
    assert [frame.position for frame in frames] == list(range(6))
    assert frames[0].previous == ORIGIN
    assert link == (6, frames[-1].digest)


def test_each_frame_names_the_hash_of_the_one_before():
    frames = list(scan(_whole()))
    for before, after in itertools.pairwise(frames):
        assert after.previous == before.digest == digest_of(before.position, before.previous, before.body)


def test_a_chain_goes_on_where_it_was_left():
    first, link = framed(BODIES[:2], Link())
    second, end = framed(BODIES[2:], link)
    assert (first + second, end) == framed(BODIES, Link())


def test_a_torn_last_frame_is_no_frame_wherever_it_was_cut():
    data = _whole()
    for cut in range(1, OVERHEAD + len(BODIES[-1])):
        pieces = list(scan(data[:-cut]))
        assert [type(piece) for piece in pieces] == [Frame] * 5 + [Damage]
        assert pieces[-1].last


def test_a_flipped_bit_costs_one_frame_and_no_other():
    start = OVERHEAD + len(BODIES[0])
    for place in range(start):
        data = bytearray(_whole())
        data[start + place] ^= 0x10
        pieces = list(scan(bytes(data)))
        damage = [piece for piece in pieces if isinstance(piece, Damage)]
        assert damage == [Damage(start, 2 * start, last=False)]
        assert [frame.position for frame in pieces if isinstance(frame, Frame)] == [0, 2, 3, 4, 5]


def test_bytes_that_look_like_a_frame_are_none_without_their_checksum():
    data = _whole() + b"\xff\xfeAR" + b"\0" * 200
    *frames, end = scan(data)
    assert len(frames) == 6
    assert end == Damage(len(_whole()), len(data), last=True)


def test_an_empty_file_holds_nothing():
    assert list(scan(b"")) == []
