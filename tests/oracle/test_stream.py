"""Our streams against PyArrow and polars, in both directions, and vn-view's conversions
against the readers that their formats have."""
import io
import json
import math
import random
import re
import struct

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
import safetensors.numpy

KINDS = ["records", "tokens", "embeddings", "vectors", "scores", "all"]


def as_arrow(stream):
    table = pa.ipc.open_stream(io.BytesIO(stream)).read_all()
    table.validate(full=True)
    return table


def as_json(vn, stream, *options):
    out = vn("vn-view", "--to", "json", *options, input=stream).stdout
    return [json.loads(line) for line in out.decode().splitlines()]


def equal(kind, ours, theirs):
    """A value read from our JSON against PyArrow's of this type."""
    if theirs is None or ours is None:
        return ours is theirs or (isinstance(theirs, float) and not math.isfinite(theirs))
    if hasattr(kind, "value_type") and not pa.types.is_dictionary(kind):
        return len(ours) == len(theirs) and all(
            equal(kind.value_type, a, b) for a, b in zip(ours, theirs))
    if pa.types.is_float32(kind):
        return np.float32(ours) == np.float32(theirs)
    if pa.types.is_float16(kind):
        return np.float16(ours) == np.float16(theirs)
    if isinstance(theirs, bytes):
        return bytes.fromhex(ours) == theirs
    return ours == theirs and (isinstance(theirs, float) or isinstance(ours, type(theirs)))


def check_rows(table, rows):
    assert len(rows) == table.num_rows
    for field in table.schema:
        theirs = table[field.name].to_pylist()
        for i, row in enumerate(rows):
            assert equal(field.type, row[field.name], theirs[i]), (field, i)


# ---- what we write ---------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches,rows,seed", [(3, 41, 1), (1, 1, 2), (20, 7, 3), (0, 0, 4)])
def test_pyarrow_reads(vn, tool, kind, batches, rows, seed):
    stream = tool("mkstream", kind, batches, rows, seed)
    table = as_arrow(stream)
    assert table.num_rows == batches * rows
    assert table["record"].to_pylist() == list(range(batches * rows))
    assert table.schema.metadata[b"vn.kind"].decode() == ("scores" if kind == "all" else kind)
    check_rows(table, as_json(vn, stream))


@pytest.mark.parametrize("kind", KINDS)
def test_polars_reads(tool, kind):
    stream = tool("mkstream", kind, 4, 23, 9)
    frame = pl.read_ipc_stream(io.BytesIO(stream))
    table = as_arrow(stream)
    assert frame.columns == table.column_names
    for name in frame.columns:
        ours, theirs = frame[name].to_list(), table[name].to_pylist()
        assert repr(ours) == repr(theirs) or all(
            np.array_equal(np.array(a), np.array(b)) for a, b in zip(ours, theirs)), name


def test_concatenation(vn, tool):
    a, b = tool("mkstream", "tokens", 2, 5, 1), tool("mkstream", "tokens", 3, 4, 2)
    rows = as_json(vn, a + b)
    assert [r["record"] for r in rows] == list(range(22))
    assert [r["tokens"] for r in rows] == (as_arrow(a)["tokens"].to_pylist() +
                                           as_arrow(b)["tokens"].to_pylist())


def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return b"%08x" % (crc ^ 0xFFFFFFFF)


def messages(stream):
    """(metadata, body) of every message, by the framing alone; the end marker is checked."""
    at = 0
    while True:
        mark, n = struct.unpack_from("<Ii", stream, at)
        assert mark == 0xFFFFFFFF
        if n == 0:
            assert at + 8 == len(stream)
            return
        message = pa.ipc.read_message(pa.BufferReader(stream[at:]))
        body = message.body.to_pybytes() if message.body is not None else b""
        yield stream[at + 8:at + 8 + n], body
        at += 8 + n + len(body)


def test_checksums(tool):
    stream = tool("mkstream", "embeddings", 3, 11, 5)
    for number, (meta, body) in enumerate(messages(stream)):
        found = re.search(rb"vn\.crc32c\0.{0,20}?([0-9a-f]{8})\0", meta, re.DOTALL)
        blank = meta[:found.start(1)] + b"00000000" + meta[found.end(1):]
        assert crc32c(blank) == found[1]
        assert (crc32c(body) in meta) == (number > 0)


def test_profile(tool):
    """Metadata of the batches; buffers are aligned zstd frames with size and checksum."""
    stream = tool("mkstream", "vectors", 3, 11, 5)
    reader = pa.ipc.open_stream(io.BytesIO(stream))
    assert reader.schema.metadata[b"vn.format"] == b"1"
    for i in range(4):
        batch, meta = reader.read_next_batch_with_custom_metadata()
        assert int(meta[b"vn.batch"]) == i
        assert int(meta[b"vn.records"]) == batch.num_rows == (11 if i < 3 else 0)
        assert meta.get(b"vn.totals") == (b"3 33 0" if i == 3 else None)
    for _, body in list(messages(stream))[1:]:
        assert len(body) % 64 == 0
        frames = [i for i in range(0, len(body), 64)
                  if body[i + 8:i + 12] == b"\x28\xb5\x2f\xfd"]
        assert frames
        for i in frames:
            descriptor = body[i + 12]
            assert descriptor & 4 # content checksum
            assert descriptor >> 6 or descriptor & 32 # content size


# ---- what others write ------------------------------------------------------------------------

TYPES = {
    "b": pa.bool_(), "i1": pa.int8(), "i2": pa.int16(), "i4": pa.int32(), "i8": pa.int64(),
    "u1": pa.uint8(), "u2": pa.uint16(), "u4": pa.uint32(), "u8": pa.uint64(),
    "f2": pa.float16(), "f4": pa.float32(), "f8": pa.float64(),
    "s": pa.string(), "y": pa.binary(), "ls": pa.large_string(), "ly": pa.large_binary(),
    "w": pa.binary(5), "li": pa.list_(pa.int32()), "ll": pa.large_list(pa.float64()),
    "lf": pa.list_(pa.float32(), 6), "lw": pa.list_(pa.binary(2), 2),
    "deep": pa.list_(pa.list_(pa.float16(), 3)), "texts": pa.list_(pa.string()),
    "flags": pa.list_(pa.bool_(), 3), "four": pa.list_(pa.list_(pa.list_(pa.int8()))),
}


def value(rng, kind):
    if rng.random() < 0.2:
        return None
    if pa.types.is_fixed_size_list(kind):
        return [value(rng, kind.value_type) for _ in range(kind.list_size)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [value(rng, kind.value_type) for _ in range(rng.randrange(5))]
    if pa.types.is_boolean(kind):
        return rng.random() < 0.5
    if pa.types.is_integer(kind):
        bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        return rng.randrange(-(1 << bits - 1) if signed else 0, 1 << bits - signed)
    if pa.types.is_float16(kind):
        return np.float16(rng.uniform(-100, 100))
    if pa.types.is_float32(kind):
        return float(np.float32(rng.gauss(0, 10) * 10.0 ** rng.randrange(-40, 30)))
    if pa.types.is_floating(kind):
        return rng.gauss(0, 10) * 10.0 ** rng.randrange(-300, 300)
    if pa.types.is_fixed_size_binary(kind):
        return bytes(rng.randrange(256) for _ in range(kind.byte_width))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return bytes(rng.randrange(256) for _ in range(rng.randrange(9)))
    return "".join(rng.choice("aZ\t\\\"\u00e9\u20ac\U0001f9a0\x01 ")
                   for _ in range(rng.randrange(9)))


def foreign_table(rows, seed):
    rng = random.Random(seed)
    return pa.table({name: pa.array([value(rng, kind) for _ in range(rows)], kind)
                     for name, kind in TYPES.items()})


def written(table, compression=None, max_rows=None, **options):
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression, **options)
    with pa.ipc.new_stream(out, table.schema, options=options) as writer:
        writer.write_table(table, max_rows)
    return out.getvalue()


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("rows,max_rows", [(100, 17), (64, 64), (1, 1), (0, 1)])
def test_reads_pyarrow(vn, compression, rows, max_rows):
    table = foreign_table(rows, rows)
    stream = written(table, compression, max_rows)
    check_rows(table, as_json(vn, stream, "--lax"))
    check_rows(table, as_json(vn, stream[:-8], "--lax")) # no end marker
    again = vn("vn-view", "--lax", "--to", "arrow", input=stream).stdout
    assert pa.ipc.open_file(io.BytesIO(again)).read_all().equals(table)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("start,rows", [(1, 50), (13, 7), (99, 1), (8, 64)])
def test_reads_slices(vn, compression, start, rows):
    table = foreign_table(100, 5).slice(start, rows)
    check_rows(table, as_json(vn, written(table, compression), "--lax"))


def test_reads_version_4(vn):
    table = foreign_table(20, 6)
    stream = written(table, metadata_version=pa.ipc.MetadataVersion.V4)
    check_rows(table, as_json(vn, stream, "--lax"))


def test_reads_polars(vn):
    frame = pl.DataFrame({"a": [1, None, 3], "s": ["x", "", None],
                          "l": [[1.5], [], None]})
    for compression in ["uncompressed", "zstd"]:
        out = io.BytesIO()
        frame.write_ipc_stream(out, compression=compression,
                               compat_level=pl.CompatLevel.oldest())
        rows = as_json(vn, out.getvalue(), "--lax")
        assert rows == frame.to_dicts()


def test_special_floats(vn):
    values = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4028235e38, 1 / 3]
    table = pa.table({"f": pa.array(values, pa.float32())})
    text = vn("vn-view", "--lax", input=written(table)).stdout.decode().split()
    assert text == ["f", "0", "-0", "inf", "-inf", "nan", "1e-45", "3.4028235e+38",
                    "0.33333334"]


REFUSED = {
    "struct": pa.array([{"a": 1}]), "dictionary": pa.array(["a"]).dictionary_encode(),
    "timestamp": pa.array([1], pa.timestamp("s")), "date": pa.array([1], pa.date32()),
    "time": pa.array([1], pa.time32("s")), "duration": pa.array([1], pa.duration("s")),
    "decimal": pa.array([1], pa.decimal128(5, 2)), "null": pa.nulls(1),
    "utf8_view": pa.array(["a"], pa.string_view()),
    "binary_view": pa.array([b"a"], pa.binary_view()),
    "list_view": pa.array([[1]], pa.list_view(pa.int8())),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
    "run_end_encoded": pa.RunEndEncodedArray.from_arrays([1], [1]),
    "union": pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()),
                                      [pa.array([1])]),
    "levels": pa.array([[[[[1]]]]]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(vn, name):
    stream = written(pa.table({"the column": REFUSED[name]}))
    said = vn("vn-view", "--lax", input=stream, status=76).stderr.decode()
    assert name in said and "'the column'" in said


def test_lz4_is_refused(vn):
    stream = written(foreign_table(50, 1), "lz4")
    assert b"LZ4" in vn("vn-view", "--lax", input=stream, status=76).stderr


def test_strict_refuses_foreign(vn):
    stream = written(foreign_table(5, 1), "zstd")
    assert b"--lax" in vn("vn-view", input=stream, status=76).stderr


def test_cut_foreign(vn):
    """Cut inside of a message is damage, even for --lax; between two it cannot be told."""
    stream = written(foreign_table(40, 2), "zstd", 10)
    ends = {len(stream), len(stream) - 8}
    for n in random.Random(1).sample(range(len(stream)), 300):
        if n not in ends and n > 0 and not between(stream, n):
            said = vn("vn-view", "--lax", input=stream[:n], status=65).stderr
            assert b"truncated" in said


def between(stream, n):
    """Is byte n where a message begins?"""
    source = pa.BufferReader(stream)
    while source.tell() < n:
        try:
            pa.ipc.read_message(source)
        except (EOFError, pa.ArrowInvalid):
            return False
    return source.tell() == n and n > 0


# ---- conversions --------------------------------------------------------------------------------

def vectors(tool, *args):
    """A stream, and its rows in the order of the input as PyArrow reads them."""
    stream = tool("mkvectors", *args)
    table = as_arrow(stream).sort_by("record")
    rows = table["embedding"].to_pylist()
    width = table.schema.field("embedding").type.list_size
    return stream, np.array([r or [math.nan] * width for r in rows],
                            np.float32).reshape(-1, width), table


CASES = [("n=1000", "window=300", "batch=64", "d=5"), ("n=77", "null=3", "d=16"),
         ("n=0",), ("n=1", "d=1")]


@pytest.mark.parametrize("args", CASES)
def test_npy(vn, tool, tmp_path, args):
    stream, want, _ = vectors(tool, *args)
    (tmp_path / "in").write_bytes(stream)
    out = vn("vn-view", "--to", "npy", "-o", tmp_path / "x.npy", tmp_path / "in")
    assert out.stdout == b""
    got = np.load(tmp_path / "x.npy")
    assert got.dtype == np.float32 and got.shape == want.shape
    assert np.array_equal(got, want, equal_nan=True)
    assert vn("vn-view", "--to", "npy", input=stream).stdout == (tmp_path / "x.npy").read_bytes()


@pytest.mark.parametrize("args", CASES)
def test_safetensors(vn, tool, tmp_path, args):
    stream, want, table = vectors(tool, *args, "pg=\"program\":\"x\",\"quote\":\"a\\\"b\"")
    vn("vn-view", "--to", "safetensors", "-o", tmp_path / "x", input=stream)
    got = safetensors.numpy.load_file(tmp_path / "x")
    assert set(got) == {"embedding", "record", "valid"}
    assert np.array_equal(got["embedding"], want, equal_nan=True)
    assert got["embedding"].shape == want.shape
    assert np.array_equal(got["record"], np.arange(len(want)))
    assert got["valid"].tolist() == [v is not None for v in table["embedding"].to_pylist()]
    with safetensors.safe_open(tmp_path / "x", "numpy") as f:
        assert f.metadata()["vn.kind"] == "vectors"
        assert json.loads(f.metadata()["vn.pg.0"])["quote"] == 'a"b'


@pytest.mark.parametrize("kind", KINDS)
def test_arrow_file(vn, tool, kind):
    stream = tool("mkstream", kind, 3, 13, 8)
    file = vn("vn-view", "--to", "arrow", input=stream).stdout
    reader = pa.ipc.open_file(io.BytesIO(file))
    assert reader.num_record_batches == 1 # small ones are joined
    table = reader.read_all()
    table.validate(full=True)
    assert table.equals(as_arrow(stream), check_metadata=True)
    if kind != "all": # binary columns compare by repr only
        assert pl.read_ipc(io.BytesIO(file)).equals(pl.read_ipc_stream(io.BytesIO(stream)))


@pytest.mark.parametrize("args,blocks", [
    (("n=90000", "d=64", "batch=900", "null=7", "status=1", "carry=1"), 4), # 297 bytes a row
    (("n=90000", "d=64", "batch=40000", "window=999"), 3), # larger than a block
    (("n=40300", "d=64", "batch=40000", "window=999"), 2), # and a small one behind it
])
def test_arrow_blocks(vn, tool, args, blocks):
    stream = tool("mkvectors", *args)
    file = vn("vn-view", "--to", "arrow", input=stream).stdout
    reader = pa.ipc.open_file(io.BytesIO(file))
    table = reader.read_all()
    table.validate(full=True)
    assert table.equals(as_arrow(stream), check_metadata=True)
    assert reader.num_record_batches == blocks
    last = reader.get_batch(blocks - 1) # random access
    assert last.equals(table.slice(table.num_rows - last.num_rows).combine_chunks()
                       .to_batches()[0])
    assert pl.read_ipc(io.BytesIO(file)).equals(pl.read_ipc_stream(io.BytesIO(stream)))


def test_arrow_blocks_of_narrow_rows(vn, tool):
    stream = tool("mkvectors", "n=2100000", "d=1", "batch=5000", "add=note")
    file = vn("vn-view", "--to", "arrow", "--columns", "note", input=stream).stdout
    reader = pa.ipc.open_file(io.BytesIO(file))
    rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    assert rows == [1045000, 1045000, 10000]


def test_arrow_file_without_rows(vn, tool):
    file = vn("vn-view", "--to", "arrow", input=tool("mkstream", "tokens", 0, 0, 1)).stdout
    assert pa.ipc.open_file(io.BytesIO(file)).read_all().num_rows == 0


def test_columns(vn, tool):
    stream = tool("mkstream", "records", 2, 9, 3)
    table = as_arrow(stream)
    rows = as_json(vn, stream, "--columns", "frame,id")
    assert [list(r) for r in rows] == [["frame", "id"]] * 18
    assert [r["frame"] for r in rows] == table["frame"].to_pylist()


def test_tsv(vn, tool):
    """As text, unescaped by rules of our own."""
    stream = tool("mkstream", "records", 2, 50, 3)
    lines = vn("vn-view", input=stream).stdout.decode().split("\n")
    table = as_arrow(stream)
    assert lines[0].split("\t") == table.column_names and lines[-1] == ""
    plain = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    for line, row in zip(lines[1:-1], table.to_pylist(), strict=True):
        cells = [re.sub(r"\\[tnr\\]|\\x[0-9a-f]{2}",
                        lambda m: plain.get(m[0]) or chr(int(m[0][2:], 16)), c)
                 for c in line.split("\t")]
        assert cells == [str(v) for v in row.values()]


def test_stats(vn, tool):
    stream = tool("mkstream", "tokens", 5, 31, 3)
    lengths = [len(t) for t in as_arrow(stream)["tokens"].to_pylist()]
    lines = vn("vn-view", "--stats", input=stream).stdout.decode().splitlines()
    facts = dict(x for x in (line.split("\t") for line in lines) if len(x) == 2)
    columns = {x[0]: x[1:] for x in (line.split("\t") for line in lines) if len(x) == 6}
    assert facts["batches"] == "5" and facts["records"] == "155"
    assert facts["tokens"] == str(sum(lengths)) and facts["bytes"] == str(len(stream))
    size, nulls, low, mean, high = columns["tokens"]
    assert (int(low), int(high), int(nulls)) == (min(lengths), max(lengths), 0)
    assert float(mean) == pytest.approx(sum(lengths) / len(lengths), rel=1e-5)
    assert int(size) == 2 * sum(lengths) + 5 * 4 * 32
    assert columns["record"] == [str(8 * 155), "0", ".", ".", "."]
