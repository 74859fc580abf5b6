"""Work beside other work: results and errors are those of one thing after the other."""

import threading

import pytest

from psfmatch_cli.overlap import beside, both


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads):
    assert both(threads, lambda: "a", lambda: "b") == ("a", "b")
    with beside(threads) as start:
        made = [start(lambda x, y=0: x + y, k, y=1) for k in range(6)]
        assert [result() for result in made] == [1, 2, 3, 4, 5, 6]
        assert made[0]() == 1


def test_two_threads_work_at_the_same_time():
    # Each waits for the other: one after the other would end in BrokenBarrierError.
    meeting = threading.Barrier(2, timeout=20)
    assert sorted(both(2, meeting.wait, meeting.wait)) == [0, 1]


def test_one_thread_works_when_it_is_asked():
    caller = threading.current_thread()
    assert both(1, threading.current_thread, threading.current_thread) == (caller, caller)
    done = []
    with beside(1) as start:
        result = start(done.append, 1)
        assert done == []
        result()
        result()
        assert done == [1]


def test_what_has_not_begun_is_not_done_after_an_error():
    begun, done = threading.Event(), []

    def first():
        begun.set()
        done.append(1)

    def interrupted():
        with beside(2) as start:
            waiting = threading.Event()
            start(lambda: (first(), waiting.wait(20)))
            start(done.append, 2)
            begun.wait(20)
            threading.Timer(0.2, waiting.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert done == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_error_counts(threads):
    def fail(kind):
        raise kind("failed")

    with pytest.raises(KeyError, match="failed"):
        both(threads, lambda: fail(KeyError), lambda: fail(ValueError))
    with pytest.raises(ValueError, match="failed"):
        both(threads, lambda: 1, lambda: fail(ValueError))
