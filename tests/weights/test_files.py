"""Weight files: what is written is read back bit for bit, and what others wrote is understood."""

import os
import re
import subprocess
import sys

import h5py
import ml_dtypes
import numpy as np
import pytest

from multiattn.weights import files

torch = pytest.importorskip("torch")

WRITABLE = [suffix for suffix in files.SUFFIXES if suffix != ".keras"]
EVERY_DTYPE = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", ml_dtypes.bfloat16),
]


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        assert state[name].dtype == array.dtype, name
        assert state[name].shape == array.shape, name
        assert state[name].tobytes() == array.tobytes(), name


@pytest.fixture
def state():
    random = np.random.RandomState(0)
    bits = random.randint(0, 2**16, (4, 3), dtype=np.uint16)  # NaNs of every kind among them
    return {
        "stem.conv.weight": random.standard_normal((4, 3, 3, 3)).astype("float32"),
        "stem.bn.running_var": random.standard_normal(4),
        "blocks.0.bfloat16": bits.view(ml_dtypes.bfloat16),
        "blocks.0.float16": bits.view("float16"),
        "blocks.10.empty": np.zeros((2, 0, 3), "float32"),
        "bfloat16": np.array(1.5, ml_dtypes.bfloat16),
        "count": np.array(7),
    }


@pytest.mark.parametrize("suffix", [*WRITABLE, ".weights.h5"])
class TestEveryFormat:
    def test_reads_back_what_it_wrote(self, tmp_path, suffix, state):
        files.write(tmp_path / f"x{suffix}", state)
        read, notes = files.read(tmp_path / f"x{suffix}")
        assert_same(read, state)
        assert notes == []

    @pytest.mark.parametrize("dtype", EVERY_DTYPE, ids=lambda dtype: np.dtype(dtype).name)
    def test_keeps_the_dtype(self, tmp_path, suffix, dtype):
        state = {"a.b": np.arange(6).reshape(2, 3).astype(dtype), "c": np.ones((), dtype)}
        files.write(tmp_path / f"x{suffix}", state)
        assert_same(files.read(tmp_path / f"x{suffix}")[0], state)

    def test_does_not_depend_on_layout_in_memory(self, tmp_path, suffix):
        array = np.arange(24, dtype="float32").reshape(2, 3, 4)
        odd = {"a": array.T, "b": array[::-1, :, ::2], "c": array.astype(">f4")}
        odd["d"] = np.broadcast_to(array[:1], (5, 3, 4))
        odd["a"].flags.writeable = False
        files.write(tmp_path / f"x{suffix}", odd)
        expected = {name: np.array(value, "float32", order="C") for name, value in odd.items()}
        assert_same(files.read(tmp_path / f"x{suffix}")[0], expected)

    def test_writes_equal_states_as_equal_bytes(self, tmp_path, suffix, state):
        (tmp_path / "again").mkdir()
        files.write(tmp_path / f"x{suffix}", state)
        files.write(tmp_path / "again" / f"x{suffix}", state)
        first, second = tmp_path / f"x{suffix}", tmp_path / "again" / f"x{suffix}"
        assert first.read_bytes() == second.read_bytes()

    def test_holds_an_empty_state(self, tmp_path, suffix):
        files.write(tmp_path / f"x{suffix}", {})
        assert files.read(tmp_path / f"x{suffix}") == ({}, [])

    def test_takes_a_string_and_any_case(self, tmp_path, suffix, state):
        path = f"{tmp_path}{os.sep}X{suffix.upper()}"
        files.write(path, state)
        assert_same(files.read(path)[0], state)

    def test_replaces_the_file_whole_or_not_at_all(self, tmp_path, suffix, state):
        path = tmp_path / f"x{suffix}"
        files.write(path, state)
        before = path.read_bytes()
        with pytest.raises(files.FileError, match="object"):
            files.write(path, {**state, "late": np.array([None])})
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
        files.write(path, {"other": np.ones(3)})
        assert list(files.read(path)[0]) == ["other"]
        assert list(tmp_path.iterdir()) == [path]

    def test_gives_the_usual_permissions(self, tmp_path, suffix, state):
        files.write(tmp_path / f"x{suffix}", state)
        (tmp_path / "plain").touch()
        assert (tmp_path / f"x{suffix}").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.mark.parametrize(
        "name", ["", ".", "a.", ".a", "a..b", "../a", "a\0b", "a\nb", "a" * 2000, "/a", 7]
    )
    def test_refuses_a_strange_name(self, tmp_path, suffix, name):
        with pytest.raises(files.FileError, match=r"name"):
            files.write(tmp_path / f"x{suffix}", {name: np.ones(3)})
        assert list(tmp_path.iterdir()) == []

    def test_needs_the_folder(self, tmp_path, suffix, state):
        with pytest.raises(files.FileError, match="nowhere"):
            files.write(tmp_path / "nowhere" / f"x{suffix}", state)

    def test_needs_the_file(self, tmp_path, suffix):
        with pytest.raises(files.FileError, match=rf"x{suffix} is no file"):
            files.read(tmp_path / f"x{suffix}")
        (tmp_path / f"x{suffix}").mkdir()
        with pytest.raises(files.FileError, match=rf"x{suffix} is no file"):
            files.read(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("call", [files.read, lambda path: files.write(path, {})])
def test_an_unknown_suffix_lists_the_known(tmp_path, call):
    with pytest.raises(files.FileError, match=r"x\.txt has none of .* \.safetensors"):
        call(tmp_path / "x.txt")


def test_a_keras_archive_is_not_written(tmp_path):
    with pytest.raises(files.FileError, match=r"x\.keras .* Keras model"):
        files.write(tmp_path / "x.keras", {"a": np.ones(3)})
    assert list(tmp_path.iterdir()) == []


def test_no_framework_is_imported(tmp_path):
    code = f"""
import sys, ml_dtypes, numpy
from multiattn.weights import files
for suffix in [".safetensors", ".npz", ".weights.h5"]:
    path = {str(tmp_path / "x")!r} + suffix
    files.write(path, {{"a": numpy.ones(3, ml_dtypes.bfloat16)}})
    assert files.read(path)[0]["a"].dtype == ml_dtypes.bfloat16
assert not {{"torch", "keras", "tensorflow", "jax", "flax"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_torch_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "x.pth").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (files.read, lambda path: files.write(path, {})):
        with pytest.raises(files.FileError, match=r'pip install "multiattn\[torch\]"') as caught:
            call(tmp_path / "x.pth")
        assert "\n" not in str(caught.value)


class TestNpz:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_reads_what_numpy_saves(self, tmp_path, save):
        state = {"a": np.arange(6.0).reshape(2, 3), "encoder/b": np.asfortranarray(np.eye(3, 2))}
        save(tmp_path / "x.npz", **state)
        assert_same(files.read(tmp_path / "x.npz")[0], state)

    def test_takes_two_opaque_bytes_for_bfloat16(self, tmp_path):
        array = np.arange(6).astype(ml_dtypes.bfloat16)
        np.savez(tmp_path / "x.npz", a=array)
        assert_same(files.read(tmp_path / "x.npz")[0], {"a": array})

    def test_refuses_text(self, tmp_path):
        np.savez(tmp_path / "x.npz", a=np.array(["text"]))
        with pytest.raises(files.FileError, match="'a' in <U4"):
            files.read(tmp_path / "x.npz")


class TestTorch:
    plain, averaged = {"w": torch.full((2,), 1.0)}, {"w": torch.full((2,), 2.0)}

    def saved(self, tmp_path, content, **options):
        torch.save(content, tmp_path / "x.pth", **options)
        return tmp_path / "x.pth"

    @pytest.mark.parametrize("zipped", [True, False])
    def test_reads_both_formats(self, tmp_path, zipped):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        net[0].weight.data = net[0].weight.data.bfloat16()
        path = self.saved(tmp_path, net.state_dict(), _use_new_zipfile_serialization=zipped)
        state, notes = files.read(path)
        assert notes == []
        assert list(state) == list(net.state_dict())
        assert state["0.weight"].dtype == ml_dtypes.bfloat16
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(state[name].astype("float64"), tensor.double().numpy())

    def test_writes_what_torch_loads(self, tmp_path, state):
        files.write(tmp_path / "x.pth", state)
        loaded = torch.load(tmp_path / "x.pth", weights_only=True)
        assert loaded["blocks.0.bfloat16"].dtype == torch.bfloat16
        assert {name: tuple(tensor.shape) for name, tensor in loaded.items()} == {
            name: array.shape for name, array in state.items()
        }

    @pytest.mark.parametrize(
        ("checkpoint", "value", "note"),
        [
            ({"state_dict": plain, "epoch": 3, "optimizer": {"state": {}}}, 1, "took 'state_dict'"),
            ({"lr": torch.ones(1), "state_dict": plain}, 1, "took 'state_dict'"),
            ({"state_dict_ema": averaged, "state_dict": plain}, 1, "left the averaged.*_ema'"),
            ({"ema": averaged, "generator": plain}, 1, "left the averaged.*'ema'"),
            ({"model_ema": averaged, "epoch": 3}, 2, "took 'model_ema'.*averaged weights"),
            ({"model": {"state_dict": plain}}, 1, "took 'model'.*took 'state_dict'"),
            ({"params": plain, "params_ema": averaged}, 1, "took 'params' .*left"),
            ({"backbone": plain, "epoch": 3}, 1, "took 'backbone'"),
            ({**plain, "epoch": 3, "name": "net"}, 1, r"passed over \['epoch', 'name'\]"),
            ({"model": "resnet", **plain}, 1, r"passed over \['model'\]"),
        ],
    )
    def test_undoes_wrappings_and_says_so(self, tmp_path, checkpoint, value, note):
        state, notes = files.read(self.saved(tmp_path, checkpoint))
        assert_same(state, {"w": np.full(2, value, "float32")})
        assert re.search(note, "; ".join(notes)), notes

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (torch.nn.Linear(2, 2), r"Linear.*state_dict\(\)"),
            ({"teacher": plain, "student": plain}, "no dict of tensors, but .*teacher"),
            (torch.ones(3), "holds a Tensor, not a dict"),
            ([plain], "holds a list"),
            ({"epoch": 3}, "no dict of tensors"),
            ({3: torch.ones(2)}, "name of type int"),
            ({"a": torch.ones(3).to_sparse()}, "Sparse"),
            ({"a": torch.ones(3, device="meta")}, "meta"),
        ],
    )
    def test_says_what_it_finds_instead_of_weights(self, tmp_path, content, message):
        with pytest.raises(files.FileError, match=rf"x\.pth .*{message}") as caught:
            files.read(self.saved(tmp_path, content))
        assert "\n" not in str(caught.value)

    def test_reads_views_and_ties(self, tmp_path):
        base = torch.arange(12.0).reshape(3, 4)
        tensors = {"a": base.T, "b": base[1:, ::2], "c": base, "d": base[:1].expand(5, 4)}
        tensors["e"] = torch.nn.Parameter(torch.complex(base, base).conj())
        state, _ = files.read(self.saved(tmp_path, tensors))
        expected = {
            name: np.array(tensor.detach().resolve_conj().numpy(), order="C")
            for name, tensor in tensors.items()
        }
        assert_same(state, expected)


class TestKerasLayout:
    """Files laid out as Keras does, written by hand."""

    @pytest.fixture
    def written(self, tmp_path):
        def write(variables, labels=()):
            with h5py.File(tmp_path / "x.weights.h5", "w") as file:
                for name, array in variables.items():
                    *layer, variable = name.split("/")
                    file.require_group("/".join([*layer, "vars"]))[variable] = array
                for layer, label in dict(labels).items():
                    file.require_group(f"{layer}/vars").attrs["name"] = label
            return files.read(tmp_path / "x.weights.h5")

        return write

    @pytest.mark.parametrize(
        ("keras", "axes"), [("io", "oi"), ("wio", "oiw"), ("hwio", "oihw"), ("dhwio", "oidhw")]
    )
    def test_kernels_become_weights(self, written, keras, axes):
        kernel = np.random.RandomState(0).standard_normal(range(2, 2 + len(keras)))
        state, notes = written({"fc/kernel": kernel, "fc/bias": np.ones(3)})
        expected = np.ascontiguousarray(np.einsum(f"{keras}->{axes}", kernel))
        assert_same(state, {"fc.bias": np.ones(3), "fc.weight": expected})
        assert notes == []

    def test_the_names_of_normalisations_and_embeddings_change(self, written):
        names = {"gamma": "weight", "beta": "bias"}
        names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
        variables = {f"bn/{name}": np.full(2, i) for i, name in enumerate(names)}
        state, _ = written({**variables, "words/embeddings": np.ones((3, 2))})
        expected = {f"bn.{name}": np.full(2, i) for i, name in enumerate(names.values())}
        assert_same(state, {**expected, "words.weight": np.ones((3, 2))})

    @pytest.mark.parametrize(
        "variables",
        [
            {"ls1/gamma": np.ones(3)},
            {"gate/alpha": np.ones(3), "gate/beta": np.ones(3), "gate/gamma": np.ones(3)},
            {"gamma": np.ones(1), "beta": np.ones(1), "norm/weight": np.ones(3)},
            {
                "weight": np.ones((3, 2)),
                "in_proj_weight": np.ones((6, 2)),
                "running_mean": np.ones(2),
            },
        ],
    )
    def test_other_names_stay(self, written, variables):
        state, _ = written(variables)
        assert_same(state, {name.replace("/", "."): array for name, array in variables.items()})

    def test_optimizer_and_seeds_are_passed_over(self, written):
        variables = {
            "w": np.ones(2),
            "optimizer/0": np.ones(3),
            "drop/seed_generator/0": np.ones(2),
        }
        variables["drop/seed_generator_state"] = np.ones(2)
        state, notes = written(variables)
        assert_same(state, {"w": np.ones(2)})
        assert notes == []

    def test_members_of_a_functional_model_go_by_their_names(self, written):
        variables = {"layers/conv/bias": np.ones(2), "layers/gate/conv/bias": np.ones(3)}
        labels = {"layers/conv": "stem", "layers/gate": "gate_4", "layers/input_layer": "x"}
        state, notes = written(variables, {**labels, "layers/gate/conv": "conv_9"})
        assert_same(state, {"stem.bias": np.ones(2), "gate_4.conv.bias": np.ones(3)})
        assert notes == []

    def test_there_may_be_hundreds_of_them(self, written):
        variables = {f"layers/conv_{i}/w{k}": np.full(2, i) for i in range(300) for k in range(9)}
        labels = {f"layers/conv_{i}": f"a_name_of_some_length_{i}" for i in range(300)}
        state, _ = written(variables, {**labels, "layers/input_layer": "x"})
        assert len(state) == 2700
        assert all((state[f"a_name_of_some_length_{i}.w8"] == i).all() for i in range(300))

    def test_without_an_input_layer_their_order_is_unknown(self, written):
        state, notes = written({"layers/conv/bias": np.ones(2)}, {"layers/conv": "stem"})
        assert_same(state, {"stem.bias": np.ones(2)})
        assert len(notes) == 1
        assert "'layers'" in notes[0]

    def test_so_is_the_order_of_a_list(self, written):
        state, notes = written({"blocks/conv/bias": np.ones(2), "blocks/conv_1/bias": np.ones(3)})
        assert_same(state, {"blocks.conv.bias": np.ones(2), "blocks.conv_1.bias": np.ones(3)})
        assert len(notes) == 1
        assert "'blocks'" in notes[0]

    def test_an_attribute_may_be_called_layers(self, written):
        state, notes = written({"layers/0/bias": np.ones(2)}, {"layers": "module_list"})
        assert_same(state, {"layers.0.bias": np.ones(2)})
        assert notes == []

    def test_stock_layers_of_a_model_are_known_by_their_class(self, written):
        variables = {"layers/dense_1/0": np.ones((2, 3)), "layers/dense_1/1": np.ones(3)}
        norm = {f"layers/batch_normalization/{i}": np.full(2, i) for i in range(4)}
        labels = {"layers/dense_1": "fc", "layers/batch_normalization": "bn"}
        state, _ = written({**variables, **norm}, {**labels, "layers/input_layer": "x"})
        names = ("weight", "bias", "running_mean", "running_var")
        expected = {f"bn.{name}": np.full(2, i) for i, name in enumerate(names)}
        expected |= {"fc.weight": np.ones((3, 2)), "fc.bias": np.ones(3)}
        assert state.keys() == expected.keys()
        assert all(np.array_equal(state[name], expected[name]) for name in expected)

    def test_a_kernel_has_two_axes_at_least(self, written):
        with pytest.raises(files.FileError, match="has a kernel"):
            written({"layers/dense/0": np.ones(3)})

    @pytest.mark.parametrize("name", ["layers/my_layer/0", "layers/dense/2", "0"])
    def test_numbered_variables_need_the_model(self, written, name):
        with pytest.raises(
            files.NeedsModelError, match=r"live Keras model.*multiattn\.save_weights"
        ):
            written({name: np.ones(3)})

    @pytest.mark.parametrize("top", ["", "model_weights/"])
    def test_files_of_keras_2_go_by_the_names_of_layers(self, tmp_path, top):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file[f"{top}fc/fc/kernel:0"] = np.ones((2, 3))
            file[f"{top}stem/stem/conv/kernel"] = np.ones((1, 1, 2, 3))
            file.create_group(f"{top}relu")
        state, _ = files.read(tmp_path / "x.h5")
        assert {name: array.shape for name, array in state.items()} == {
            "fc.weight": (3, 2),
            "stem.conv.weight": (3, 2, 1, 1),
        }

    def test_two_variables_of_one_name_are_an_error(self, written):
        with pytest.raises(files.FileError, match=r"two variables that are 'fc\.weight'"):
            written({"fc/kernel": np.ones((2, 2)), "fc/weight": np.ones((2, 2))})


@pytest.fixture(scope="module")
def layers():
    """Keras, and layers that name their variables in files."""
    keras = pytest.importorskip("keras")

    class ByName:
        def save_own_variables(self, store):
            for variable in (*self._trainable_variables, *self._non_trainable_variables):
                store[variable.name] = variable

    class Conv(ByName, keras.layers.Conv2D):
        pass

    class Norm(ByName, keras.layers.BatchNormalization):
        pass

    class Gate(keras.layers.Layer):
        def build(self, shape):
            self.gamma = self.add_weight(shape=(1,), name="gamma")
            self.conv = Conv(3, 1, dtype=self.dtype_policy)
            self.conv.build(shape)

        def save_own_variables(self, store):
            store["gamma"] = self.gamma

        def call(self, x):
            return x + self.gamma * self.conv(x)

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = Conv(3, 1), Gate(dtype="bfloat16")

        def call(self, x):
            return self.gate(self.conv(x))

    return keras, Conv, Norm, Gate, Net


class TestKeras:
    """Files that Keras itself wrote."""

    def test_a_functional_model(self, tmp_path, layers):
        keras, Conv, Norm, Gate, _ = layers
        inner = keras.Sequential([keras.Input((None, None, 3)), Norm(), Conv(3, 1)], name="inner")
        x = keras.Input((None, None, 3))
        model = keras.Model(x, inner(Gate(name="gate")(Conv(3, (2, 1), name="stem")(x))))
        model.compile("adam", "mse")
        model.fit(np.ones((1, 3, 3, 3)), np.ones((1, 2, 3, 3)), verbose=0)
        model.save(tmp_path / "x.keras")
        state, notes = files.read(tmp_path / "x.keras")
        gate = {"gate.gamma", "gate.conv.weight", "gate.conv.bias"}
        norm = {f"inner.0.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
        ends = {"stem.weight", "stem.bias", "inner.1.weight", "inner.1.bias"}
        assert state.keys() == gate | norm | ends
        assert notes == []
        kernel = keras.ops.convert_to_numpy(model.get_layer("stem").kernel)
        np.testing.assert_array_equal(state["stem.weight"], kernel.transpose(3, 2, 0, 1))

    def test_a_sequential_model(self, tmp_path, layers):
        keras, Conv, Norm, _, _ = layers
        members = [keras.Input((4, 4, 3)), Conv(2, 1), keras.layers.ReLU(), Norm(), Conv(3, 1)]
        keras.Sequential(members).save(tmp_path / "x.keras")
        state, notes = files.read(tmp_path / "x.keras")
        assert {name.partition(".")[0] for name in state} == {"0", "2", "3"}
        assert notes == []
        assert state["0.weight"].shape == (2, 3, 1, 1)
        assert state["3.weight"].shape == (3, 2, 1, 1)

    def test_a_model_of_ones_own(self, tmp_path, layers):
        model = layers[-1]()
        model(np.ones((1, 2, 2, 3), "float32"))
        model.save_weights(tmp_path / "x.weights.h5")
        state, notes = files.read(tmp_path / "x.weights.h5")
        assert state.keys() == {
            *("conv.weight", "conv.bias", "gate.gamma", "gate.conv.weight", "gate.conv.bias")
        }
        assert state["gate.gamma"].dtype == ml_dtypes.bfloat16
        assert notes == []

    def test_stock_layers_are_read_without_the_model(self, tmp_path, layers):
        keras = layers[0]
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "x.keras")
        state, _ = files.read(tmp_path / "x.keras")
        assert {name: array.shape for name, array in state.items()} == {
            "0.bias": (2,),
            "0.weight": (2, 3),
        }
