"""The event loop comes before the thread of a model."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.model.switching import NICENESS, give_way


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ranks the threads of a process")
def test_the_thread_of_a_model_gives_way_and_the_loop_does_not() -> None:
    """After what the backend makes ready in it; no other thread is touched."""
    before, entered = os.getpriority(os.PRIO_PROCESS, 0), []
    with ThreadPoolExecutor(1, initializer=give_way, initargs=(lambda: entered.append(threading.get_ident()),)) as pool:
        found = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert found == min(19, before + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert entered != [threading.get_ident()]
    assert len(entered) == 1
