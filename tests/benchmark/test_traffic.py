"""Bytes that a compiled step reads and writes."""

import jax
import jax.numpy as jnp

from effnet_jax.benchmark.traffic import bytes_moved

PROGRAM = """HloModule jit_step

%inner (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%p)
}

ENTRY %main.1 (x: f32[4,8], m: pred[32]) -> (f32[4,8], bf16[]) {
  %x = f32[4,8]{1,0:T(8,128)} parameter(0), metadata={op_name="x"}
  %m = pred[32]{0} parameter(1)
  %flat = f32[32]{0} bitcast(%x)
  %both = (f32[32]{0}, pred[32]{0}) tuple(%flat, %m)
  %loop = (f32[32]{0}, /*index=1*/pred[32]{0}) while(%both), condition=%inner, body=%inner
  %out = f32[32]{0} get-tuple-element(%loop), index=0
  %sum = bf16[] fusion(%out, %m), kind=kLoop, calls=%inner
  ROOT %result = (f32[32]{0}, bf16[]) tuple(%out, %sum)
}
"""


def test_operands_and_results_count_once_and_renaming_nothing():
    loop = 32 * 4 + 32  # its operands alone: what it gives back is what it was given
    fusion = 32 * 4 + 32 + 2
    assert bytes_moved(PROGRAM) == loop + fusion


def test_a_loop_of_known_length_counts_as_often_as_it_turns():
    known = ', body=%inner, backend_config={"known_trip_count":{"n":"5"}}'
    before, turns = bytes_moved(PROGRAM), 5 * (8 * 4 + 8 * 4)
    assert bytes_moved(PROGRAM.replace(", body=%inner", known)) == before - (32 * 4 + 32) + turns


def test_of_a_compiled_program():
    x = jnp.ones((64, 32))
    program = jax.jit(lambda x: jnp.sort(x, axis=0)).lower(x).compile().as_text()
    assert 2 * x.nbytes <= bytes_moved(program) <= 6 * x.nbytes  # one operation, perhaps with a copy on either side
