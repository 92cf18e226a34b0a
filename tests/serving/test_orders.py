"""The book of batch orders: what may be read, how many wait, and in which order they are carried out."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from appraise.errors import BatchError, DataError, ForbiddenInputError, UnknownBatchError
from appraise.serving.orders import OrderBook


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    (folder / "june").mkdir(parents=True)
    (folder / "new.csv").write_text("a\n1\n")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (folder / "way-out.csv").symlink_to(tmp_path / "secret.csv")
    return folder


@pytest.fixture
def book(tmp_path, inputs) -> OrderBook:
    return OrderBook(tmp_path / "batches", inputs=[str(inputs), "s3://homes/new"], most_open=3)


@pytest.mark.parametrize("wanted", ["new.csv", "june", "june/../new.csv", "{inputs}/new.csv", "s3://homes/new/a.csv"])
def test_what_lies_in_an_allowed_folder_may_be_read(book, inputs, wanted):
    wanted = wanted.replace("{inputs}", str(inputs))
    order = book.place("homes", input=wanted)
    assert book.find(order.batch_id) == order
    assert order.input == (wanted if wanted.startswith("s3") else str((inputs / wanted).resolve()))


@pytest.mark.parametrize(
    "wanted",
    [
        "../secret.csv",
        "/etc/passwd",
        "june/../../secret.csv",
        "way-out.csv",
        "s3://homes/newer/a.csv",
        "s3://homes",
        "s3://others/new/a.csv",
        "S3://homes/new/a.csv",
        "new.csv\0.parquet",
        "~root/x.csv",
    ],
)
def test_what_lies_outside_may_not(book, wanted):
    with pytest.raises((ForbiddenInputError, DataError)) as caught:
        book.place("homes", input=wanted)
    assert type(caught.value) is ForbiddenInputError or wanted[0] in "S~"
    assert book.next() is None


def test_an_order_that_is_damaged_keeps_no_other_from_being_carried_out(book):
    (book.folder / "orders").mkdir(parents=True)
    (book.folder / "orders" / "00000000-0000-0000-0000-000000000000.json").write_bytes(b"")
    order = book.place("homes", month="2023-05")
    assert book.next() == order
    assert book.latest(10) == (order,)
    with pytest.raises(UnknownBatchError):
        book.find("00000000-0000-0000-0000-000000000000")
    assert len(list((book.folder / "orders").glob("*.damaged"))) == 1


def test_without_allowed_folders_nothing_may_be_read(tmp_path, inputs):
    with pytest.raises(ForbiddenInputError, match="may not be read"):
        OrderBook(tmp_path / "batches").place("homes", input=str(inputs / "new.csv"))


def test_a_file_that_is_not_there(book):
    with pytest.raises(DataError, match=r"no other\.csv"):
        book.place("homes", input="other.csv")


def test_orders_are_carried_out_in_turn_and_one_that_was_left_first(book):
    orders = [book.place("homes", month="2023-05") for _ in range(3)]
    assert book.next() == orders[0]
    orders[1].state = "running"
    book.write(orders[1])
    assert book.next() == orders[1]
    orders[1].state = "done"
    book.write(orders[1])
    assert book.next() == orders[0]
    assert book.find(orders[1].batch_id).state == "done"


def test_the_latest_are_told_without_a_look_at_those_before(book):
    placed = [book.place("homes", month="2023-05") for _ in range(3)]
    for number in range(10):
        ended = book.next()
        assert ended.batch_id == placed[number].batch_id
        ended.state = "done" if number % 2 else "failed"
        book.write(ended)
        path = book.folder / "orders" / "over" / f"{ended.batch_id}.json"
        os.utime(path, ns=(number, number))
        if number < 7:
            path.write_bytes(b"whoever reads this fails")
            os.utime(path, ns=(number, number))
        placed.append(book.place("homes", month="2023-05"))
    newest = [order.batch_id for order in reversed(placed)]
    assert [order.batch_id for order in book.latest(3)] == newest[:3]
    assert [order.batch_id for order in book.latest(2)] == newest[:2]
    assert len(list((book.folder / "orders" / "over").glob("*.json"))) == 10


def test_no_more_wait_than_may_however_many_ask_at_once(book):
    barrier = threading.Barrier(12)

    def place(_: int) -> bool:
        barrier.wait(timeout=60)
        try:
            book.place("homes", month="2023-05")
        except BatchError:
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        taken = list(threads.map(place, range(12)))
    assert sum(taken) == 3


@pytest.mark.parametrize("wanted", ["", "x", "../../secret", "6f1c1b52-6d6e-4c5b-9a11-000000000000"])
def test_an_unknown_run(book, wanted):
    with pytest.raises(UnknownBatchError, match="there is no batch run"):
        book.find(wanted)
