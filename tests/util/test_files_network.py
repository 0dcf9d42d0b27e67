from __future__ import annotations

import pytest

from portico.util.files import network_file_system

MOUNTS = r"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:45 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 22 0:46 / /mnt/my\040share rw - cifs //server/share rw
32 30 254:2 / /home/anna/local rw - ext4 /dev/sdb rw
33 22 0:47 / /mnt/ssh rw - fuse.sshfs anna@host: rw
34 22 0:48 / /mnt/odd rw - fuse.portal portal rw
a line that is none
"""


@pytest.fixture
def mounts(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS, encoding="utf-8")
    return table


@pytest.mark.requirement("E62")
@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/anna/.local/state/portico", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/anna", None),
        ("/home/anna/local/portico", None),
        ("/mnt/my share/portico", "cifs"),
        ("/mnt/ssh/portico", "fuse.sshfs"),
        ("/mnt/odd/portico", None),
        ("/var/lib/portico", None),
    ],
)
def test_a_folder_on_another_machine_is_known_by_its_file_system(mounts, folder, kind):
    assert network_file_system(folder, mounts) == kind


def test_where_there_is_no_table_of_mounts_nothing_is_claimed(tmp_path):
    assert network_file_system(tmp_path, tmp_path / "none") is None
    assert network_file_system(tmp_path) is None
