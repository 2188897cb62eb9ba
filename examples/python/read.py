import sys
import pyarrow as pa
table = pa.ipc.open_stream(sys.stdin.buffer).read_all()
print(table.schema)
print(table.select(["id", "label", "status"]).slice(0, 5).to_pylist())
