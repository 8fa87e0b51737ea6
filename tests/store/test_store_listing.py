"""Long lists within bounds: nothing is left out, and what was not looked at is said."""

from __future__ import annotations

from typing import Any

import pytest
from store_events import end, put, start

from spanloom.records import TokenUsage
from spanloom.store import Reader, RunFilter, Store, listing

COUNT = 300


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three hundred runs, of which every fortieth has a tag."""
    path = tmp_path_factory.mktemp("listing") / "s.db"
    with Store(path) as store:
        for number in range(COUNT):
            tags = ["seldom"] if number % 40 == 0 else None
            used = TokenUsage(prompt=number * 7919 % 1000)
            put(store, start(f"r{number}", number, tags=tags), end(f"r{number}", number + 1, tokens_usage=used))
        while store.index_pending(10):
            pass
    with Reader(path) as opened:
        yield opened


@pytest.mark.parametrize("stretch", [1, 7, 100, 10_000])
@pytest.mark.parametrize("wanted", [RunFilter(), RunFilter(tag="seldom"), RunFilter(tag="never"), RunFilter(text="r1")])
def test_pages_that_stop_early_add_up_to_the_whole(reader: Reader, stretch: int, wanted: RunFilter) -> None:
    """However short the stretches and however little time there is: every run once, in order."""
    whole = [run.seq for run in reader.runs(wanted, limit=1000).runs]
    for seconds in (0.0, 60.0):
        found: list[int] = []
        after: int | None = None
        with reader._connections.snapshot() as connection:
            for _ in range(2 * COUNT):
                rows, after = listing.Lister(connection, wanted, 1, 3).newest(after, seconds, stretch)
                found += [row["seq"] for row in rows]
                after = after or (rows[-1]["seq"] if len(rows) == 3 else None)
                if after is None:
                    break
        assert found == whole


def test_a_page_that_stopped_early_says_so(reader: Reader) -> None:
    """With the place to go on from; one that is full, or the last one, says nothing."""
    full = reader.runs(limit=5, look_seconds=0.0)
    assert (len(full.runs), full.looked_to_us) == (5, None) and full.next == full.runs[-1].seq
    last = reader.runs(RunFilter(tag="never"), look_seconds=0.0)
    assert (last.runs, last.next, last.looked_to_us) == ([], None, None)  # all of so few is one stretch


def test_sorted_among_the_newest(reader: Reader) -> None:
    """Only among those, from the newest that is wanted on; and it is said when there are older ones."""
    page = reader.runs(order="tokens", limit=5, among=50)
    expected = sorted(range(COUNT - 50, COUNT), key=lambda number: -(number * 7919 % 1000))[:5]
    assert [run.id for run in page.runs] == [f"r{number}" for number in expected]
    assert page.looked_to_us is not None
    further = reader.runs(order="tokens", limit=5, offset=5, among=50)
    assert not {run.id for run in page.runs} & {run.id for run in further.runs}
    everything = reader.runs(order="tokens", limit=5, among=COUNT + 1)
    assert everything.looked_to_us is None
    assert everything.runs == reader.runs(order="tokens", limit=5).runs


def test_a_seldom_value_is_found_through_its_index(reader: Reader) -> None:
    """A stretch of arrival narrows the index of a condition and does not replace it (S29)."""
    from spanloom.store.filters import runs_query

    for wanted, index in ((RunFilter(status="killed"), "runs_by_status"), (RunFilter(user_id="u"), "runs_by_user")):
        query, values = runs_query(
            wanted, 1, order="received", descending=True, after=90, limit=9, offset=0, searchable=True, beyond=10
        )
        with reader._connections.snapshot() as connection:
            connection.set_authorizer(None)
            plan = connection.execute(f"explain query plan {query}", values).fetchall()
        assert index in plan[0]["detail"] and "rowid>? AND rowid<?" in plan[0]["detail"]
