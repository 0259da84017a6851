"""Collectives read from the text of compiled programs: their kinds, sizes, executions, and what hides them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpldan_jax.benchmarking import hlo_text

_PAIR = """
%product (a: f32[8,8], b: f32[8,8]) -> f32[8,8] {{
  %a = f32[8,8]{{1,0}} parameter(0)
  %b = f32[8,8]{{1,0}} parameter(1)
  ROOT %d = f32[8,8]{{1,0}} dot(%a, %b), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
}}

%sum (c: f32[8,8]) -> f32[8,8] {{
  %c = f32[8,8]{{1,0}} parameter(0)
  ROOT %e = f32[8,8]{{1,0}} add(%c, %c)
}}

ENTRY %main (x: f32[8,8]) -> f32[8,8] {{
  %x = f32[8,8]{{1,0:T(8,128)}} parameter(0)
  %start = (f32[8,8]{{1,0:T(8,128)S(1)}}, f32[8,8]{{1,0}}, u32[]{{:S(2)}}, /*index=3*/u32[]) PERMUTE, channel_id=1
  {between}
  %done = f32[8,8]{{1,0}} collective-permute-done(%start)
  ROOT %after = f32[8,8]{{1,0}} fusion(%done, %x), kind=kOutput, calls=%product
}}
"""


def read_only_one(text):
    (one,) = hlo_text.read_exchange(text).collectives
    return one


def program(*lines, before=""):
    return "\n".join([before, "ENTRY %main (x: f32[8]) -> f32[8] {", *(f"  {line}" for line in lines), "}"])


@pytest.mark.parametrize(
    "between, overlapped, beside_products",
    [
        ("%shaped = f32[64]{0} bitcast(%x)", 0, 0),
        ("%work = f32[8,8]{1,0} fusion(%x), kind=kLoop, calls=%sum", 1, 0),
        ("%work = f32[8,8]{1,0} fusion(%x, %x), kind=kOutput, calls=%product", 1, 1),
        ("%work = f32[8,8]{1,0} convolution(%x, %x), dim_labels=bf_io->bf", 1, 1),
    ],
)
def test_an_asynchronous_pair_with_and_without_compute_between(between, overlapped, beside_products):
    text = _PAIR.format(between=between).replace("PERMUTE", "collective-permute-start(%x)")
    one = read_only_one(text)
    assert (one.kind, one.sites, one.executions, one.asynchronous) == ("collective-permute", 1, 1, 1)
    assert one.bytes == one.sent_bytes == 8 * 8 * 4  # of the result, not of the tuple of the start
    assert (one.overlapped, one.beside_products) == (overlapped, beside_products)
    assert one.waiting_bytes == 0


@pytest.mark.parametrize(
    "line, size, sent",
    [
        ("f32[32]{0} all-gather(%x), replica_groups={{0,1,2,3}}, dimensions={0}", 128, 96),
        ("f32[32]{0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}", 128, 96),
        ("f32[2]{0} reduce-scatter(%x), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add", 8, 24),
        ("f32[32]{0} all-gather(%x), replica_groups=mesh['x'=2,'y'=4] {'y'}, dimensions={0}", 128, 96),
        ("f32[32]{0} all-gather(%x), replica_groups=mesh['x'=2,'y'=4] {'x','y'}, dimensions={0}", 128, 112),
        ("f32[32]{0} all-gather(%x), replica_groups=mesh['data'=8] {'data':(1)2}, dimensions={0}", 128, 64),
        ("(f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%x, %y), replica_groups={{0,1}}, to_apply=%add", 48, 48),
        ("f32[8]{0} all-reduce(%x), replica_groups={}, to_apply=%add", 32, 64),  # of an unknown number of devices
        ("pred[8]{0} all-to-all(%x), replica_groups={{0,1,2,3}}, dimensions={0}", 8, 6),
    ],
)
def test_sizes_by_hand(line, size, sent):
    one = read_only_one(program("%x = f32[8]{0} parameter(0)", f"ROOT %y = {line}"))
    assert (one.bytes, one.sent_bytes, one.asynchronous) == (size, sent, 0)
    assert one.waiting_bytes == sent


def test_a_wrapped_collective_counts_once():
    wrapped = """
%wrapped (a: f32[8]) -> f32[2] {
  %a = f32[8]{0} parameter(0)
  ROOT %r = f32[2]{0} reduce-scatter(%a), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
}
"""
    one = read_only_one(
        program(
            "%x = f32[8]{0} parameter(0)",
            "%s = ((f32[8]{0}), f32[2]{0}) async-start(%x), calls=%wrapped",
            "ROOT %d = f32[2]{0} async-done(%s)",
            before=wrapped,
        )
    )
    assert (one.kind, one.sites, one.asynchronous, one.sent_bytes) == ("reduce-scatter", 1, 1, 24)


LOOP = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %v = f32[8]{0} get-tuple-element(%p), index=1
  %moved = f32[8]{0} collective-permute(%v), source_target_pairs={{0,1},{1,0}}
  ROOT %t = (s32[], f32[8]{0}) tuple(%v, %moved)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0}) parameter(0)
  %limit = s32[] constant(5)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=DIRECTION
}
"""


@pytest.mark.parametrize(
    "first, direction, attributes, executions, unknown",
    [
        ("constant(0)", "LT", "", 5, 0),
        ("constant(2)", "LT", "", 3, 0),
        ("parameter(1)", "LT", "", 1, 1),
        ("constant(0)", "GT", "", 1, 1),
        ("constant(0)", "GT", ', backend_config={"known_trip_count":{"n":"7"}}', 7, 0),
    ],
)
def test_loops_count_as_often_as_they_run(first, direction, attributes, executions, unknown):
    lines = [
        "%x = f32[8]{0} parameter(0)",
        f"%first = s32[] {first}",
        "%copied = s32[] copy(%first)",
        "%start = (s32[], f32[8]{0}) tuple(%copied, %x)",
        f"ROOT %w = (s32[], f32[8]{{0}}) while(%start), condition=%condition, body=%body{attributes}",
    ]
    text = program(*lines, before=LOOP.replace("DIRECTION", direction))
    found = hlo_text.read_exchange(text)
    assert (found.loops, found.unknown_loops) == (1, unknown)
    (one,) = found.collectives
    assert (one.sites, one.executions, one.bytes) == (1, executions, 32 * executions)
    assert one.waiting_bytes == one.sent_bytes


def test_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="found no computation marked ENTRY"):
        hlo_text.read_exchange("HloModule empty")


def test_a_program_of_jax():
    # A ring of four devices, three times around, and a sum over them.
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    ring = [(i, (i + 1) % 4) for i in range(4)]

    def step(x):
        x = jax.lax.fori_loop(0, 3, lambda _, y: jax.lax.ppermute(jnp.sin(y), "data", ring), x)
        return jax.lax.psum(x, "data")

    rows = jax.sharding.PartitionSpec("data")
    summed = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=rows, out_specs=jax.sharding.PartitionSpec()))
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=jax.sharding.NamedSharding(mesh, rows))
    found = hlo_text.read_exchange(summed.lower(x).compile().as_text())
    reduce, permute = found.collectives
    share = 2 * 16 * 4
    assert (reduce.kind, reduce.executions, reduce.sent_bytes) == ("all-reduce", 1, 2 * share * 3 // 4)
    assert (permute.kind, permute.executions, permute.sent_bytes) == ("collective-permute", 3, 3 * share)
    assert found.unknown_loops == 0
