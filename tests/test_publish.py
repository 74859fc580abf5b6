"""Publishing files all or none: every call of the system fails once, or is the last one before a kill."""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from psfmatch_cli import folder_lock, interrupts, publish, staging
from psfmatch_cli.errors import OutputError
from psfmatch_cli.interrupts import Stopped
from psfmatch_cli.publish import recover
from psfmatch_cli.transaction import Transaction

#: Calls that change a folder or a file, by which a transaction does all it does there.
CALLS = ("link", "rename", "replace", "unlink", "rmdir", "mkdir", "open", "write", "fsync", "close")
#: More calls than any transaction here makes.
MANY = 400
ROLES = ("kernel", "record", "difference")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Flushing a file takes long on a busy machine, and changes nothing that a process can see."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def always(role, path):
    return True


def never(role, path):
    return False


def outputs_in(*folders):
    """Three files, the last one the main one, in one folder or in several."""
    return {role: folders[n % len(folders)] / role for n, role in enumerate(ROLES)}


def write_set(outputs, text, may_replace=always):
    with Transaction(outputs, may_replace) as names:
        for role, name in names.items():
            name.write_text(f"{text} {role}")


def write_with(transaction):
    with transaction as names:
        for role, name in names.items():
            name.write_text(f"new {role}")


def state(outputs):
    """Which run each file comes from, None for no file."""
    return [path.read_text().split()[0] if path.exists() else None for path in outputs.values()]


def litter(*folders):
    return [path.name for folder in folders for path in folder.iterdir() if path.name.startswith(".")]


class Fault:
    """Replaces the calls of the system; the one of a certain number fails, or is followed by `then`."""

    def __init__(self, number, then=None, calls=CALLS):
        self.number, self.then, self.calls, self.count = number, then, calls, 0

    def __enter__(self):
        self.real = {name: getattr(os, name) for name in self.calls}
        for name in self.calls:
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, *exception):
        for name, function in self.real.items():
            setattr(os, name, function)

    def _wrapped(self, name):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.number and self.then is None:
                if name == "close":  # the system closes a file also where it reports an error
                    self.real[name](*args)
                raise OSError(errno.EIO, f"fault {self.number} in {name}")
            result = self.real[name](*args, **kwargs)
            if self.count == self.number:
                self.then()
            return result

        return call


@pytest.fixture(params=["one folder", "two folders"])
def folders(request, tmp_path):
    made = [tmp_path / "a"] if request.param == "one folder" else [tmp_path / "a", tmp_path / "b"]
    for folder in made:
        folder.mkdir()
    return made


@pytest.fixture(params=["hard links", "no hard links"])
def links(request, monkeypatch):
    if request.param == "no hard links":

        def refuse(*args, **kwargs):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("before", ["old", None])
def test_after_any_single_failure_all_files_are_old_or_all_are_new(before, folders, links):
    outputs = outputs_in(*folders)
    outcomes = set()
    for number in range(1, MANY):
        for path in outputs.values():
            path.write_text(f"{before} x") if before else path.unlink(missing_ok=True)
        failed = False
        with Fault(number) as fault:
            try:
                write_set(outputs, "new")
            except OutputError:
                failed = True
        if fault.count < number:
            break
        found = state(outputs)
        assert found in ([before] * 3, ["new"] * 3), number
        # A failure that was told has changed nothing.
        assert not failed or found == [before] * 3, number
        outcomes.add(found[0])
        # What could not be removed is removed by the next run, and changes nothing of what was left.
        for folder in folders:
            recover(folder)
        assert state(outputs) == found
        assert litter(*folders) == []
    else:
        pytest.fail("more calls than expected")
    assert outcomes == {before, "new"}
    assert number > 30


@pytest.mark.parametrize("before", ["old", None])
def test_after_a_kill_at_any_call_the_next_run_finds_all_old_or_all_new(before, folders, links):
    """A child process ends without any clean-up after each call of the system in turn."""
    outputs = outputs_in(*folders)
    finished = set()
    for number in range(1, MANY):
        for path in outputs.values():
            path.write_text(f"{before} x") if before else path.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                with Fault(number, then=lambda: os._exit(9)):
                    write_set(outputs, "new")
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        # Looked after from the folder of a lesser file first: the journal of the main one counts.
        for folder in reversed(folders):
            recover(folder)
        found = state(outputs)
        assert found in ([before] * 3, ["new"] * 3), number
        finished.add(found[0])
        assert litter(*folders) == [], number
        if os.waitstatus_to_exitcode(status) == 0:
            break
    else:
        pytest.fail("more calls than expected")
    assert finished == {before, "new"}


def test_a_set_that_is_half_replaced_is_put_back_and_told(tmp_path, caplog):
    outputs = outputs_in(tmp_path)
    write_set(outputs, "old")
    child = os.fork()
    if child == 0:
        with Fault(2, then=lambda: os._exit(9), calls=("replace",)):
            write_set(outputs, "new")
        os._exit(0)
    os.waitpid(child, 0)
    assert state(outputs) == ["new", "new", "old"]
    with caplog.at_level(logging.INFO, "psfmatch_cli"):
        recover(tmp_path)
    assert state(outputs) == ["old"] * 3
    assert "left by a run that was killed" in caplog.text
    assert litter(tmp_path) == []


def test_a_file_that_was_made_since_a_kill_is_not_touched(tmp_path):
    outputs = outputs_in(tmp_path)
    write_set({"kernel": outputs["kernel"]}, "old")
    child = os.fork()
    if child == 0:
        publish.checkpoint = lambda: os._exit(9)  # when all have their names, but the journal is still there
        write_set(outputs, "new")
        os._exit(0)
    os.waitpid(child, 0)
    assert state(outputs) == ["new"] * 3
    for role in ("kernel", "difference"):
        outputs[role].unlink()
        outputs[role].write_text(f"theirs {role}")
    recover(tmp_path)
    assert state(outputs) == ["theirs", None, "theirs"]
    assert litter(tmp_path) == []


def test_files_that_cannot_be_put_back_are_named_and_kept(tmp_path, monkeypatch):
    outputs = outputs_in(tmp_path)
    write_set(outputs, "old")
    real, count = os.replace, []

    def replace(source, target):
        count.append(target)
        if len(count) >= 2:
            raise OSError(errno.EROFS, "Read-only file system")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(OutputError, match=r"Read-only file system; and these files cannot be put back.*kernel"):
            write_set(outputs, "new")
    assert state(outputs) == ["new", "old", "old"]
    recover(tmp_path)
    assert state(outputs) == ["old"] * 3
    assert litter(tmp_path) == []


def test_a_folder_that_was_moved_since_a_kill_is_left_as_it_is(tmp_path, caplog):
    folder = tmp_path / "a"
    folder.mkdir()
    outputs = outputs_in(folder)
    write_set(outputs, "old")
    child = os.fork()
    if child == 0:
        with Fault(1, then=lambda: os._exit(9), calls=("replace",)):
            write_set(outputs, "new")
        os._exit(0)
    os.waitpid(child, 0)
    folder.rename(tmp_path / "b")
    recover(tmp_path / "b")
    assert "could not be put back" in caplog.text
    (stage,) = litter(tmp_path / "b")
    assert (tmp_path / "b" / stage / "old" / "kernel").read_text() == "old kernel"


def test_a_file_that_may_not_be_replaced_is_looked_for_again_at_the_end(tmp_path):
    outputs = outputs_in(tmp_path)

    def late():
        with Transaction(outputs, never) as names:
            for name in names.values():
                name.write_text("mine x")
            outputs["record"].write_text("theirs x")

    with pytest.raises(OutputError, match=r"record: already exists; use --overwrite"):
        late()
    assert state(outputs) == [None, "theirs", None]
    assert litter(tmp_path) == []


def test_a_file_made_without_the_lock_is_not_replaced(tmp_path, monkeypatch):
    """By a program that knows nothing of the lock, between the last look and the renaming."""
    outputs = outputs_in(tmp_path)
    real = publish._write_journals

    def write_journals(*args):
        real(*args)
        outputs["record"].write_text("theirs x")

    monkeypatch.setattr(publish, "_write_journals", write_journals)
    with pytest.raises(OutputError, match=r"record: was just made by another program"):
        write_set(outputs, "mine", never)
    assert state(outputs) == [None, "theirs", None]


def test_a_file_that_was_not_written_is_an_error(tmp_path):
    outputs = outputs_in(tmp_path)

    def forget():
        with Transaction(outputs, always) as names:
            names["difference"].write_text("new x")

    with pytest.raises(OutputError, match="No such file"):
        forget()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_vanishes_while_writing_is_named(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def vanish():
        with Transaction(outputs_in(folder), always) as names:
            shutil.rmtree(folder)
            names["kernel"].write_text("x")

    with pytest.raises(OutputError, match=r"the folder .*out does not exist any more"):
        vanish()
    assert os.listdir(tmp_path) == []


def test_messages_have_the_names_that_the_user_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse():
        with Transaction({"difference": Path("d.fits")}, always) as names:
            raise OutputError(f"{names['difference']}: cannot be written (No space left on device)")

    with pytest.raises(OutputError, match=r"^d.fits: cannot be written"):
        refuse()


@pytest.mark.parametrize("may_replace", [always, never])
def test_of_transactions_at_once_one_has_all_files(may_replace, folders):
    """Threads have locks of their own, as processes do."""
    for turn in range(15):
        outputs = outputs_in(*folders) if turn % 2 else dict(reversed(outputs_in(*reversed(folders)).items()))
        for path in outputs.values():
            path.unlink(missing_ok=True)
        gate = threading.Barrier(4)
        refused = []

        def run(name, outputs=outputs, gate=gate, refused=refused):
            gate.wait()
            try:
                write_set(outputs, name, may_replace)
            except OutputError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=run, args=(f"run{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(state(outputs))) == 1
        assert state(outputs)[0].startswith("run")
        assert len(refused) == (0 if may_replace is always else 3)
        assert all("already exists" in text for text in refused)
        assert litter(*folders) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_without_locks_it_goes_on(number, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    outputs = outputs_in(tmp_path)
    write_set(outputs, "old")
    write_set(outputs, "new")
    assert state(outputs) == ["new"] * 3
    stage = staging.make_stage(tmp_path)
    staging.release_stage(stage)
    recover(tmp_path)
    assert stage.path.is_dir()  # without locks nobody can tell whether its run lives


def test_a_lock_that_is_never_given_up_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.05)
    with folder_lock.locked_folders([tmp_path]), pytest.raises(OutputError, match="another run has locked this folder"):
        write_set(outputs_in(tmp_path), "new")
    assert os.listdir(tmp_path) == []


def test_one_folder_under_two_names_does_not_wait_for_itself(tmp_path):
    (tmp_path / "a").mkdir()
    with folder_lock.locked_folders([tmp_path / "a", tmp_path / "a" / ".." / "a"]):
        pass


def test_only_what_is_surely_dead_and_ours_is_removed(tmp_path, monkeypatch):
    alive = staging.make_stage(tmp_path)
    foreign = staging.make_stage(tmp_path)
    staging.release_stage(foreign)
    (foreign.path / "lock").write_text("another computer")
    old = staging.make_stage(tmp_path)
    staging.release_stage(old)
    (old.path / "lock").write_text("another computer")
    os.utime(old.path, (0, 0))
    for name in (".psfmatch-notes", "psfmatch-abcdefgh", ".other-abcdefgh"):
        (tmp_path / name).mkdir()
    (tmp_path / ".psfmatch-abcdefgh").symlink_to(tmp_path / ".other-abcdefgh")
    (tmp_path / ".psfmatch-12345678").write_text("a file")
    kept = {path.name for path in tmp_path.iterdir()} - {old.path.name}
    recover(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    staging.release_stage(alive)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    recover(tmp_path)
    assert alive.path.is_dir()
    monkeypatch.undo()
    recover(tmp_path)
    assert not alive.path.exists()


def test_a_journal_cut_short_is_no_reason_to_rename(tmp_path):
    stage = staging.make_stage(tmp_path)
    stage.journal.write_text(json.dumps({"stages": [str(stage.path)], "moves": []})[:-3])
    staging.release_stage(stage)
    recover(tmp_path)
    assert os.listdir(tmp_path) == []


def test_recovering_needs_no_folder_that_can_be_read(tmp_path):
    recover(tmp_path / "nowhere")


@pytest.fixture
def signals():
    """The handlers of the command line, taken away again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook, state_before = sys.unraisablehook, interrupts._state
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    interrupts._state = interrupts._State()
    interrupts.unwind_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook, interrupts._state = hook, state_before


def test_a_signal_before_the_set_is_complete_undoes_it(tmp_path, signals):
    outputs = outputs_in(tmp_path)
    write_set(outputs, "old")
    for number in range(1, 4):
        interrupts._state.stopped = None
        transaction = Transaction(outputs, always)
        fault = Fault(number, then=lambda: os.kill(os.getpid(), signal.SIGTERM), calls=("replace",))
        with pytest.raises(Stopped, match="ended by SIGTERM"), fault:
            write_with(transaction)
        assert not transaction.published
        assert state(outputs) == ["old"] * 3
        assert litter(tmp_path) == []


def test_a_signal_after_that_is_too_late_to_undo_it(tmp_path, signals):
    outputs = outputs_in(tmp_path)
    write_set(outputs, "old")
    transaction = Transaction(outputs, always)
    fault = Fault(1, then=lambda: os.kill(os.getpid(), signal.SIGINT), calls=("unlink",))
    with pytest.raises(Stopped, match="interrupted"), fault:
        write_with(transaction)
    assert transaction.published
    assert state(outputs) == ["new"] * 3
    assert litter(tmp_path) == []


def test_a_second_signal_does_not_cut_short_the_cleaning_up(tmp_path, signals, monkeypatch):
    def interrupted(number):
        with Fault(number, then=kill, calls=("unlink", "rmdir")), Transaction(outputs_in(tmp_path), always) as names:
            names["kernel"].write_text("half")
            kill()

    def kill():
        os.kill(os.getpid(), signal.SIGINT)

    for grace in (3.0, 0.0):  # also one that comes when the first is long forgotten
        monkeypatch.setattr(interrupts, "GRACE", grace)
        for number in range(1, 6):
            interrupts._state.stopped = None
            with pytest.raises(Stopped):
                interrupted(number)
            assert os.listdir(tmp_path) == []


def test_a_signal_that_got_lost_is_sent_again(signals):
    """Python drops an exception in a finaliser."""

    class Thing:
        pass

    thing = Thing()
    weakref.finalize(thing, os.kill, os.getpid(), signal.SIGINT)

    def lose():
        nonlocal thing
        thing = None
        time.sleep(2)

    with pytest.raises(Stopped):
        lose()


def test_two_processes_started_at_once(tmp_path):
    """Whole processes, with nothing in common but the folder."""
    code = (
        "import sys, pathlib; from psfmatch_cli.transaction import Transaction\n"
        "folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "sys.stdin.read()\n"
        "for turn in range(40):\n"
        "    with Transaction({r: folder / r for r in 'abc'}, lambda role, path: True) as names:\n"
        "        for path in names.values(): path.write_text(name + ' x')\n"
    )
    made = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), f"run{n}"], stdin=subprocess.PIPE, cwd=Path.cwd())
        for n in range(2)
    ]
    for process in made:
        process.stdin.close()
    assert [process.wait() for process in made] == [0, 0]
    assert len(set(state({role: tmp_path / role for role in "abc"}))) == 1
    assert litter(tmp_path) == []
