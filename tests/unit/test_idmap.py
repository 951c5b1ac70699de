"""Idmapped mounts: the mapping that an entry of `mounts` asks for, and why a kernel won't have it."""

from __future__ import annotations

from errno import EINVAL, ENOSYS

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyoci.errors import Error
from pyoci.host import idmap as host
from pyoci.host import mountinfo
from pyoci.plan.idmap import Idmap, compile_idmap

USER = {"namespaces": [{"type": "user"}], "uidMappings": [], "gidMappings": []}


def lines(*triplets: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in triplets]


def compiled(option: str, linux: dict | None = None) -> Idmap:
    idmap = compile_idmap({"options": ["bind", option]}, "/mounts/0", linux or {})
    assert idmap
    return idmap


def translated(mappings: list[dict[str, int]], number: int) -> int | None:
    found = [m for m in mappings if m["containerID"] <= number < m["containerID"] + m["size"]]
    assert len(found) < 2
    return found[0]["hostID"] + number - found[0]["containerID"] if found else None


def test_the_option_as_it_is_written() -> None:
    idmap = compiled("ridmap=uids=0-1-10#10-11-10;gids=0-100-10")
    assert idmap.uids == lines((0, 1, 10), (10, 11, 10))
    assert idmap.gids == lines((0, 100, 10))
    assert idmap.recursive
    assert idmap.pointer == "/mounts/0/options/1"
    assert not compiled("idmap=uids=0-1-1;gids=0-1-1;").recursive


def test_the_last_option_decides() -> None:
    linux = {**USER, "uidMappings": lines((0, 5, 1)), "gidMappings": lines((0, 6, 1))}
    idmap = compile_idmap({"options": ["ridmap", "idmap"]}, "/mounts/0", linux)
    assert idmap and not idmap.recursive and idmap.uids == lines((0, 5, 1))


def test_no_mapping_is_none() -> None:
    assert compile_idmap({"options": ["bind"], "uidMappings": []}, "/mounts/0", USER) is None


def test_a_joined_namespace_is_its_own_mapping() -> None:
    idmap = compiled("idmap", {"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]})
    assert (idmap.namespace, idmap.uids) == ("namespace:user", [])


@pytest.mark.parametrize(
    ("linux", "said"),
    [
        ({**USER, "uidMappings": lines((0, 5, 10)), "gidMappings": lines((0, 5, 10))}, "from 9 to 10"),
        ({"namespaces": [{"type": "user", "path": "/x"}]}, "a user namespace that is joined"),
    ],
)
def test_relative_to_what_isnt_known(linux: dict, said: str) -> None:
    with pytest.raises(Error, match=said) as raised:
        compiled("idmap=uids=@0-9-2;gids=@0-0-1", linux)
    assert raised.value.pointer == "/mounts/0/options/1"


RANGES = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(RANGES, st.integers(0, 1000), st.data())
def test_a_relative_mapping_goes_through_the_containers(
    sizes: list[int], inside: int, data: st.DataObject
) -> None:
    """Whatever its ranges: each owner is who the container's user is on the host."""
    containers, first = [], 0
    for position, size in enumerate(sizes):
        containers.append({"containerID": first, "hostID": 10000 * (position + 1), "size": size})
        first += size
    outside = data.draw(st.integers(0, first - 1))
    size = data.draw(st.integers(1, first - outside))
    linux = {**USER, "uidMappings": containers, "gidMappings": containers}
    idmap = compiled(f"idmap=uids=@{inside}-{outside}-{size};gids=@0-0-1", linux)
    for step in range(size):
        assert translated(idmap.uids, inside + step) == translated(containers, outside + step)
    assert sum(line["size"] for line in idmap.uids) == size


# ------------------------------------------------------------------- what a kernel won't have


def explained(monkeypatch: pytest.MonkeyPatch, kind: str, release: tuple[int, int]) -> tuple[str, str]:
    line = f"29 23 0:26 / / rw,relatime - {kind} none rw".encode()
    monkeypatch.setattr(host, "_involved", lambda source, recursive: [mountinfo.Mount(line)])
    monkeypatch.setattr(host, "_release", lambda: release)
    return host.explain("/", False, EINVAL)


@pytest.mark.parametrize(
    ("kind", "release", "found", "hint"),
    [
        ("tmpfs", (6, 1), "this kernel can't idmap a filesystem of type tmpfs", "it needs Linux 6.3, and"),
        ("btrfs", (5, 14), "this kernel can't idmap a filesystem of type btrfs", "this is 5.14"),
        ("nfs4", (6, 18), "the kernel can't idmap a filesystem of type nfs4", "these can: btrfs"),
        ("overlay", (6, 18), "the kernel can't idmap a filesystem of type overlay", "layers"),
        ("fuse", (6, 18), "this server of type fuse doesn't allow it", "itself"),
    ],
)
def test_the_filesystem_and_the_kernel_are_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, release: tuple[int, int], found: str, hint: str
) -> None:
    said = explained(monkeypatch, kind, release)
    assert said[0] == found
    assert hint in said[1]


def test_a_kernel_without_any() -> None:
    assert host.explain("/", False, ENOSYS)[1] == "they need Linux 5.12"
