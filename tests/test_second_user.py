"""The other user of the tests is another user."""

from __future__ import annotations

import json
import os
import pwd

import pytest

from tests.second_user import second_user

pytestmark = pytest.mark.root


def test_she_runs_programs_and_owns_files_as_herself_and_cannot_read_what_is_ours(another_user, tmp_path):
    ours = tmp_path / "ours"
    ours.write_text("private", encoding="utf-8")
    output = another_user.run(
        """
try: pathlib.Path(sys.argv[1]).read_text()
except OSError as error: refused = type(error).__name__
pathlib.Path("hers").write_text("")
print(json.dumps([os.getuid(), os.getgroups(), refused, pathlib.Path("hers").stat().st_uid, pathlib.Path("/proc/self").stat().st_uid]))
""",
        str(ours),
    )

    assert json.loads(output) == [another_user.uid, [another_user.gid], "PermissionError", another_user.uid, another_user.uid]
    assert another_user.uid not in {0, os.getuid()}


def test_nothing_of_her_is_left():
    with second_user() as she:
        process = she.start("print('here', flush=True); time.sleep(600)")
        assert process.stdout.readline() == "here\n"
    assert process.wait(10) == -9
    process.communicate()
    with pytest.raises(KeyError):
        pwd.getpwnam(she.name)
    assert not she.home.exists()
