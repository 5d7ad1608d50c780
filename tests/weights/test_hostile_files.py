"""Broken and hostile weight files: one error, nothing executed or written, in bounds."""

import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from multiattn.weights import files

torch = pytest.importorskip("torch")

GIB = 2**30
STATE = {"conv.weight": np.ones((4, 3, 1, 1), "float32"), "n": np.array(3), "b": np.ones(3, ">f8")}


@pytest.fixture(autouse=True)
def modest(tmp_path, monkeypatch):
    """Holds every test to little memory and time, and to writing nothing where it runs."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert time.monotonic() - start < 20
    assert os.listdir(empty) == []


@pytest.fixture
def refused(tmp_path):
    """Asserts that a file of this name and content is refused in one line."""

    def check(name, content, message=None):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(files.FileError, match=message) as caught:
            files.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000

    return check


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """The bytes of a good file of every kind, by its suffix."""
    folder = tmp_path_factory.mktemp("valid")
    for suffix in (".safetensors", ".npz", ".pth", ".weights.h5"):
        files.write(folder / f"x{suffix}", STATE)
    tensors = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}
    options = {"_use_new_zipfile_serialization": False}
    torch.save({"state_dict": tensors}, folder / "xlegacy.pth", **options)
    with h5py.File(folder / "xkeras.weights.h5", "w") as file:
        for name, label in {"input_layer": "x", "conv": "stem", "conv_1": "head"}.items():
            file[f"layers/{name}/vars/kernel"] = np.ones((3, 2))
            file[f"layers/{name}/vars"].attrs["name"] = label
    layers = [{"class_name": "Conv", "config": {"name": name}} for name in ("stem", "head")]
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    with zipfile.ZipFile(folder / "x.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(folder / "xkeras.weights.h5", "model.weights.h5")
    return {path.name[1:]: path.read_bytes() for path in folder.iterdir()}


EVERY_KIND = [
    *(".safetensors", ".npz", ".pth", "legacy.pth", ".weights.h5", "keras.weights.h5", ".keras")
]
OTHER = {"text": b"not found\n", "page": b"<!DOCTYPE html><html><body>404</body></html>" * 50}


class TestEveryFormat:
    @pytest.mark.parametrize(
        ("suffix", "other"),
        [
            (suffix, other)
            for suffix in EVERY_KIND
            for other in [*EVERY_KIND, *OTHER]
            if other[-4:] != suffix[-4:]
        ],
    )
    def test_the_wrong_content(self, refused, valid, suffix, other):
        refused(f"x{suffix}", {**valid, **OTHER}[other])

    @pytest.mark.parametrize("suffix", EVERY_KIND)
    def test_truncated_anywhere(self, refused, valid, suffix):
        content = valid[suffix]
        for length in {0, 1, 7, 8, 9, *range(0, len(content), max(1, len(content) // 50))}:
            refused(f"x{suffix}", content[:length])

    @given(data=st.data())
    @settings(
        max_examples=250,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @pytest.mark.parametrize("suffix", EVERY_KIND)
    def test_mutated_reads_or_is_refused(self, tmp_path, valid, suffix, data):
        content = valid[suffix]
        for _ in range(data.draw(st.integers(1, 4))):
            content = data.draw(mutated(content))
        (tmp_path / f"x{suffix}").write_bytes(content)
        try:
            state, _ = files.read(tmp_path / f"x{suffix}")
        except files.FileError:
            return
        assert all(isinstance(array, np.ndarray) for array in state.values())


@st.composite
def mutated(draw, content):
    """Flips, overwrites, cuts, splices or repeats some bytes."""
    content = bytearray(content)
    at = draw(st.integers(0, max(0, len(content) - 1)))
    length = draw(st.integers(1, 64))
    kind = draw(st.sampled_from(["flip", "overwrite", "truncate", "remove", "splice", "repeat"]))
    if kind == "flip" and content:
        content[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "overwrite":
        numbers = [0, 1, 2**31, 2**40, 2**63, 2**64 - 1, len(content)]
        content[at : at + 8] = struct.pack("<Q", draw(st.sampled_from(numbers)))
    elif kind == "truncate":
        del content[at:]
    elif kind == "remove":
        del content[at : at + length]
    elif kind == "splice":
        source = draw(st.integers(0, len(content)))
        content[at : at + draw(st.sampled_from([0, length]))] = content[source : source + length]
    else:
        content[at:at] = content[at : at + length] * draw(st.integers(1, 4))
    return content


class TestSafetensors:
    @staticmethod
    def packed(header, data=b"", length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    @staticmethod
    def tensor(shape, start, end, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    @pytest.mark.parametrize("length", [3, 2**20, 2**40, 2**63, 2**64 - 1])
    def test_a_header_of_another_length(self, refused, length):
        content = self.packed({"a": self.tensor([1], 0, 4)}, b"1234", length)
        refused("x.safetensors", content, "header")

    @pytest.mark.parametrize(
        "tensors",
        [
            {"a": ([2], 0, 8), "b": ([2], 4, 12)},
            {"a": ([2], 0, 8), "b": ([1], 10, 14)},
            {"a": ([4], 0, 16)},
            {"a": ([2], 8, 0)},
            {"a": ([2], -8, 0)},
            {"a": ([2**62], 0, 12)},
            {"a": ([3], 0, 2**64 - 1)},
            {"a": ([-3], 0, 12)},
            {"a": ([2**40, 2**40, 0], 0, 0), "b": ([3], 0, 12)},
            {"a": ([3], 0, 12, "F31")},
            {"a": ([12], 0, 12, "F8_E4M3")},
            {"a": ("three", 0, 12)},
            {"": ([3], 0, 12)},
            {"a\0b": ([3], 0, 12)},
            {"../a": ([3], 0, 12)},
            {"a" * 5000: ([3], 0, 12)},
        ],
    )
    def test_impossible_tensors(self, refused, tensors):
        header = {name: self.tensor(*tensor) for name, tensor in tensors.items()}
        refused("x.safetensors", self.packed(header, b"0" * 12))

    @pytest.mark.parametrize(
        "header", [b"[" * 10**6, b'{"a":' * 10**6, b"null", b"{}}", b'{"a":1}']
    )
    def test_a_header_of_another_kind(self, refused, header):
        refused("x.safetensors", self.packed(header))

    def test_a_key_twice(self, refused):
        tensor = json.dumps(self.tensor([1], 0, 4))
        refused(
            "x.safetensors",
            self.packed(f'{{"a":{tensor},"a":{tensor}}}'.encode(), b"1234"),
            "twice",
        )


def zipped(members, compression=zipfile.ZIP_STORED):
    """An archive of (name, bytes) pairs, repeated names included."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


def bomb(name, head, size):
    """An archive with a deflated member of `head` and then `size` zeros, made in little memory."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        member.write(head)
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return content.getvalue()


def npy_header(shape, dtype="<f4"):
    head = io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


class TestNpz:
    @pytest.mark.parametrize(
        "shape", [(2**40, 2**40, 0), (2**62,), (2**32, 2**32), (-1,), (-2, -4), (9,), (7,)]
    )
    def test_impossible_shapes(self, refused, shape):
        refused("x.npz", zipped([("a.npy", npy_header(shape) + bytes(32))]))

    @pytest.mark.parametrize(
        "dtype", ["<f2000000000", "S0", "V0", "<U4", "<M8[s]", "<f16", [("a", "<f4"), ("b", "<f4")]]
    )
    def test_other_dtypes(self, refused, dtype):
        refused("x.npz", zipped([("a.npy", npy_header((2,), dtype) + bytes(32))]))

    def test_a_pickle_is_not_executed(self, tmp_path, refused):
        data = np.array([Executed(tmp_path / "executed")], dtype=object)
        np.savez(tmp_path / "x.npz", a=data)
        refused("x.npz", None, "pickled")
        assert not (tmp_path / "executed").exists()

    def test_a_quarter_of_a_gigabyte_of_zeros(self, refused):
        content = bomb("a.npy", npy_header((2**26,)), 2**28)
        assert len(content) < 2**19
        refused("x.npz", content, "32 times its own size")

    def test_many_members_that_are_bombs_together(self, refused):
        zeros = npy_header((2**18,)) + bytes(2**20)
        members = [(f"a{i}.npy", zeros) for i in range(200)]
        refused("x.npz", zipped(members, compression=zipfile.ZIP_DEFLATED), "32 times")

    def test_a_member_larger_than_the_directory_says(self, refused):
        content = bomb("a.npy", npy_header((2**10,)), 2**28)
        declared = struct.pack("<L", len(npy_header((2**10,))) + 2**12)
        at = content.rindex(b"PK\x01\x02") + 24
        refused("x.npz", content[:at] + declared + content[at + 4 :])

    def test_a_member_larger_than_its_header_says(self, refused):
        refused("x.npz", bomb("a.npy", npy_header((2**10,)), 2**22), r"bytes for \(1024,\)")

    def test_a_header_of_gigabytes(self, refused):
        head = b"\x93NUMPY\x02\x00" + struct.pack("<L", 2**32 - 1)
        refused("x.npz", bomb("a.npy", head, 2**25))

    def test_a_header_that_is_a_deep_expression(self, refused):
        text = b"(" * 5000
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
        refused("x.npz", zipped([("a.npy", head)]))

    @pytest.mark.parametrize(
        "name",
        ["../a.npy", "/etc/a.npy", "a/../../b.npy", "..\\a.npy", "a\0.npy", "a\n.npy", "", ".npy"],
    )
    def test_strange_member_names(self, tmp_path, refused, name):
        longer = zipped([("x" * len(name.encode()), npy_header((1,)) + bytes(4))])
        refused("x.npz", longer.replace(b"x" * len(name.encode()), name.encode()))
        assert sorted(os.listdir(tmp_path)) == ["empty", "x.npz"]

    def test_a_very_long_name(self, refused):
        refused("x.npz", zipped([("a" * 60000, npy_header((1,)) + bytes(4))]), "unusable name")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_member_twice(self, refused):
        member = ("a.npy", npy_header((1,)) + bytes(4))
        refused("x.npz", zipped([member, member]), "two members")

    def test_a_member_that_is_no_array(self, refused):
        refused("x.npz", zipped([("README", b"hello")]), "no array")


class Executed:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def torch_zip(tensors, pickled=None, **options):
    """What torch.save writes of tensors, with another pickle and other zip options."""
    content = io.BytesIO()
    torch.save(tensors, content)
    with zipfile.ZipFile(content) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if pickled is not None:
        members["archive/data.pkl"] = pickled(members["archive/data.pkl"])
    return zipped(members.items(), **options)


def opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


class TestTorch:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("where", ["whole", "value", "wrapped"])
    def test_a_pickle_is_not_executed(self, tmp_path, refused, zipped, where):
        call = Executed(tmp_path / "executed")
        weights = {"w": torch.ones(2)}
        content = {"whole": call, "value": {**weights, "x": call}}
        content["wrapped"] = {"state_dict": weights, "args": call}
        torch.save(content[where], tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        refused("x.pth", None, r"more than tensors \(GLOBAL \w+.mkdir")
        (tmp_path / "y.pth").write_bytes(pickle.dumps(content["whole"]))
        refused("y.pth", None, "nothing that torch.save wrote")
        assert not (tmp_path / "executed").exists()

    def test_compressed_members_may_not_grow_beyond_measure(self, refused):
        content = torch_zip({"a": torch.zeros(2**24 + 1)}, compression=zipfile.ZIP_DEFLATED)
        refused("x.pth", content, "32 times")

    def test_a_storage_that_is_larger_than_its_member(self, refused):
        def enlarged(pickled):
            return pickled.replace(b"K\x04tq", b"J\x00\x00\x00\x10tq", 1)

        refused("x.pth", torch_zip({"a": torch.ones(4)}, enlarged))

    @pytest.mark.parametrize("size", [2**40, 2**62])
    def test_a_view_that_expands_without_end(self, tmp_path, refused, size):
        torch.save({"a": torch.ones(1).expand(size)}, tmp_path / "x.pth")
        refused("x.pth", None, "32 times")

    def test_many_views_of_one_storage(self, tmp_path, refused):
        big = torch.ones(2**20)
        torch.save({f"a{i}": big.view(2**20) for i in range(100)}, tmp_path / "x.pth")
        refused("x.pth", None, "32 times")

    @pytest.mark.parametrize(
        "pickled",
        [
            opcodes(b"cbuiltins\nbytearray\nJ\x00\x00\x00\x70\x85R"),
            opcodes(b"})", b"\x85" * 10**6, b"Ns"),
        ],
    )
    def test_pickles_that_crash_by_size_alone(self, refused, pickled):
        content = torch_zip({"a": torch.ones(1)}, lambda _: pickled)
        refused("x.pth", content, "no state dict needs")
        magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
        refused("y.pth", magic + pickled, "no state dict needs")

    @pytest.mark.parametrize(
        "pickled",
        [
            opcodes(b"}q\x00X\x05\x00\x00\x00modelh\x00s"),
            opcodes(b"}q\x00X\x05\x00\x00\x00modelh\x00sX\x03\x00\x00\x00emah\x00s"),
            opcodes(b"}X\x05\x00\x00\x00model" * 5000, b"}", b"s" * 5000),
            opcodes(
                b"}q\x00",
                *(
                    b"}q%cX\x05\x00\x00\x00modelh%csX\x03\x00\x00\x00neth%cs" % (i, i - 1, i - 1)
                    for i in range(1, 200)
                ),
            ),
        ],
        ids=["cycle", "two cycles", "deep", "wide"],
    )
    def test_wrappings_without_end(self, refused, pickled):
        refused("x.pth", torch_zip({"a": torch.ones(1)}, lambda _: pickled))

    @pytest.mark.parametrize("pickled", [b"}" * 2**26, b"]" * 2**22])
    def test_a_pickle_of_very_many_objects(self, refused, pickled):
        members = [("archive/data.pkl", opcodes(pickled)), ("archive/version", b"3")]
        refused("x.pth", zipped(members, zipfile.ZIP_DEFLATED), "32 times")

    def test_a_dict_that_is_held_many_times(self, refused):
        inner = (
            b"}q\x00(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(2**16)) + b"u"
        )
        outer = (
            b"}(" + b"".join(b"M" + struct.pack("<H", i) + b"h\x00" for i in range(2**16)) + b"u"
        )
        members = [("archive/data.pkl", opcodes(inner, outer)), ("archive/version", b"3")]
        refused("x.pth", zipped(members), "no dict of tensors")

    @pytest.mark.parametrize("name", ["", "a..b", "a\0b", "../../a", "a" * 5000])
    def test_strange_names(self, tmp_path, refused, name):
        torch.save({name: torch.ones(2)}, tmp_path / "x.pth")
        refused("x.pth", None, "unusable name")

    def test_a_member_outside_the_archive(self, tmp_path, refused):
        refused("x.pth", zipped([("../archive/data.pkl", b"\x80\x02}.")]), "unusable name")
        assert sorted(os.listdir(tmp_path)) == ["empty", "x.pth"]


class TestHdf5:
    @pytest.fixture
    def refused_h5(self, tmp_path, refused):
        """Asserts that a file that `fill` made is refused, as .weights.h5 and within .keras."""

        def check(fill, message=None, **options):
            with h5py.File(tmp_path / "x.weights.h5", "w", **options) as file:
                fill(file)
            refused("x.weights.h5", None, message)
            members = [("config.json", b"null")]
            members += [("model.weights.h5", (tmp_path / "x.weights.h5").read_bytes())]
            refused("x.keras", zipped(members), message)

        return check

    @pytest.mark.parametrize("marked", [True, False])
    @pytest.mark.parametrize(
        "options",
        [
            {"shape": (2**40,), "compression": "gzip", "chunks": (2**20,)},
            {"shape": (2**40,), "chunks": (2**20,)},
            {"shape": (2**40,)},
            {"shape": (2**20, 2**20, 2**20), "fillvalue": 7},
            {"data": np.zeros(2**16), "compression": "gzip"},
            {"data": np.zeros(2**16), "shuffle": True},
            {"shape": (4,), "external": "/etc/passwd"},
            {"data": "text"},
            {"data": ["text", "of", "any length"]},
            {"data": h5py.Empty("f4")},
            {"shape": (2,), "dtype": h5py.ref_dtype},
            {"data": np.zeros(3, "S5")},
            {"data": np.zeros(3, [("a", "f4"), ("b", "i4")])},
        ],
    )
    def test_datasets_that_are_no_plain_arrays(self, refused_h5, options, marked):
        def fill(file):
            file.create_dataset("conv/vars/weight", **options)
            if marked:
                file.attrs["multiattn"] = "1"

        refused_h5(fill)

    @pytest.mark.parametrize("place", ["b", "a/vars/b", "layers"])
    @pytest.mark.parametrize(
        ("link", "message"),
        [
            (h5py.SoftLink("/a/vars/weight"), "link to elsewhere"),
            (h5py.SoftLink("/nowhere"), "link to elsewhere"),
            (h5py.ExternalLink("/etc/passwd", "/"), "never uses"),
            (h5py.ExternalLink("other.h5", "/a"), "never uses"),
        ],
    )
    def test_links_to_elsewhere(self, refused_h5, link, message, place):
        def fill(file):
            file["a/vars/weight"] = np.ones(3)
            file[place] = link

        refused_h5(fill, message)

    @pytest.mark.parametrize(("source", "place"), [("/", "a/b"), ("a", "a/b"), ("a", "b")])
    def test_cycles_and_second_ways(self, refused_h5, source, place):
        def fill(file):
            file["a/vars/weight"] = np.ones(3)
            file[place] = file[source]

        refused_h5(fill, "in two places")

    def test_a_virtual_dataset(self, refused_h5):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
        refused_h5(lambda file: file.create_virtual_dataset("a", layout))

    def test_a_depth_without_end(self, refused_h5):
        def fill(file):
            for _ in range(3000):
                file = file.create_group("a")

        refused_h5(fill, "RecursionError")

    def test_groups_of_the_newer_kinds(self, refused_h5):
        refused_h5(lambda file: file.create_group("a"), "none of the kind", libver="latest")
        refused_h5(lambda file: file.create_group("a", track_order=True), "never uses")

    def test_a_named_type(self, refused_h5):
        def fill(file):
            file["type"] = np.dtype("f4")
            file.create_dataset("vars/a", data=np.ones(3), dtype=file["type"])

        refused_h5(fill)

    @pytest.mark.parametrize("name", ["a\nb", "a..b", "b" * 1025, "b" * 5000])
    @pytest.mark.parametrize("place", ["vars/{}", "{}/vars/a", "{}", "{}/a"])
    def test_strange_names(self, refused_h5, name, place):
        refused_h5(lambda file: file.create_dataset(place.format(name), data=np.ones(3)))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda length, heap, number: (2**32 - 1, heap, number), "name is missing"),
            (lambda length, heap, number: (length, heap, 99), "name is missing"),
            (lambda length, heap, number: (length, 8, number), "name is missing"),
            (lambda length, heap, number: (length, 2**63, number), None),
            (lambda length, heap, number: (length, 2**64 - 1, number), None),
        ],
    )
    def test_the_name_of_a_layer_is_out_of_place(self, refused, valid, change, message):
        content = valid["keras.weights.h5"]
        place = (4, content.index(b"GCOL"), 2)
        old, new = struct.pack("<IQI", *place), struct.pack("<IQI", *change(*place))
        assert content.count(old) == 1
        refused("x.weights.h5", content.replace(old, new), message)

    def test_the_name_of_a_layer_is_no_text(self, tmp_path, refused):
        for name in (3, b"bytes", ["a", "b"], np.zeros(1000)):
            with h5py.File(tmp_path / "x.h5", "w") as file:
                file.create_group("layers/conv/vars").attrs["name"] = name
            refused("x.h5", None, "no usable name for /layers/conv/vars")

    def test_datasets_that_share_their_bytes(self, tmp_path, refused):
        """Each in itself is right, but together they are far larger than the file."""
        array = np.full(2**17, 1.5)
        files.write(
            tmp_path / "x.h5", {f"layer{i}.w": array[: 2 if i else None] for i in range(99)}
        )
        with h5py.File(tmp_path / "x.h5") as file:
            large, small = (file[f"layer{i}/vars/w"].id.get_offset() for i in (0, 1))
        content = (tmp_path / "x.h5").read_bytes()
        shape = struct.pack("<QQ", 2, 2), struct.pack("<QQ", 2**17, 2**17)
        size = struct.pack("<Q", 16), struct.pack("<Q", 2**20)
        assert content.count(shape[0]) == 98
        content = content.replace(*shape)
        for i in range(98):
            offset = struct.pack("<Q", small + 16 * i)
            content = content.replace(offset + size[0], struct.pack("<Q", large) + size[1])
        refused("x.h5", content, "32 times")


class TestKeras:
    @pytest.mark.parametrize(
        "config",
        [
            b"",
            b"[" * 10**6,
            b"[]",
            b'{"class_name": "Sequential"}',
            b'{"class_name": "Sequential", "config": {"layers": [3]}}',
            b'{"class_name": "Functional", "config": {"layers": [{"class_name": "Conv"}]}}',
        ],
    )
    def test_a_configuration_of_another_kind(self, refused, valid, config):
        members = [("model.weights.h5", valid["keras.weights.h5"]), ("config.json", config)]
        refused("x.keras", zipped(members))

    @pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
    def test_a_member_is_missing(self, refused, missing):
        members = [(name, b"{}") for name in ("config.json", "model.weights.h5") if name != missing]
        refused("x.keras", zipped(members), missing)

    def test_a_configuration_that_unpacks_without_end(self, refused):
        lists = b"[" + b"[]," * 2**24 + b"[]]"
        members = [("config.json", lists), ("model.weights.h5", b"")]
        refused("x.keras", zipped(members, zipfile.ZIP_DEFLATED), "32 times")

    def test_weights_that_unpack_without_end(self, refused):
        refused("x.keras", bomb("model.weights.h5", b"\x89HDF\r\n\x1a\n", 2**28), "32 times")

    def test_a_member_outside_the_archive(self, tmp_path, refused):
        refused("x.keras", zipped([("../config.json", b"{}")]), "unusable name")
        assert sorted(os.listdir(tmp_path)) == ["empty", "x.keras"]
