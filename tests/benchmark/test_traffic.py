"""Bytes that a compiled step reads and writes."""

import jax
import jax.numpy as jnp

from effnet_jax.benchmark.traffic import bytes_moved, operations

PROGRAM = """HloModule jit_step

%inner (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%p)
}

%pair (a: f32[32], b: pred[32]) -> bf16[] {
  %a = f32[32]{0} parameter(0)
  %b = pred[32]{0} parameter(1)
  ROOT %r = bf16[] custom(%a, %b)
}

ENTRY %main.1 (x: f32[4,8], m: pred[32]) -> (f32[4,8], bf16[]) {
  %x = f32[4,8]{1,0:T(8,128)} parameter(0), metadata={op_name="x"}
  %m = pred[32]{0} parameter(1)
  %flat = f32[32]{0} bitcast(%x)
  %both = (f32[32]{0}, pred[32]{0}) tuple(%flat, %m)
  %loop = (f32[32]{0}, /*index=1*/pred[32]{0}) while(%both), condition=%inner, body=%inner
  %out = f32[32]{0} get-tuple-element(%loop), index=0
  %sum = bf16[] fusion(%out, %m), kind=kLoop, calls=%pair
  ROOT %result = (f32[32]{0}, bf16[]) tuple(%out, %sum)
}
"""

# Of a step of B0 as the compiler for an H100 gives it, shortened.
GPU_PROGRAM = """HloModule jit_steps, is_scheduled=true

%fused_slice (param_0: f32[4000], param_1: f32[40]) -> f32[40] {
  %param_0 = f32[4000]{0} parameter(0)
  %double.1 = f32[4000]{0} add(%param_0, %param_0)
  %slice.1 = f32[40]{0} slice(%double.1), slice={[40:80]}
  %param_1 = f32[40]{0} parameter(1)
  ROOT %add.1 = f32[40]{0} add(%slice.1, %param_1)
}

%fused_reduce (param_0.1: f32[64,40]) -> (f32[40], f32[40]) {
  %param_0.1 = f32[64,40]{1,0} parameter(0)
  %square.1 = f32[64,40]{1,0} multiply(%param_0.1, %param_0.1)
  ROOT %reduce.1 = (f32[40]{0}, f32[40]{0}) reduce(%param_0.1, %square.1), dimensions={0}, to_apply=%sum
}

%wrapped_copy (param_0.2: f32[40]) -> f32[40] {
  %param_0.2 = f32[40]{0} parameter(0)
  ROOT %copy.2 = f32[40]{0} copy(%param_0.2)
}

ENTRY %main.9 (vector: f32[4000], scale: f32[40], map: f32[64,40]) -> (f32[40], f32[40]) {
  %vector = f32[4000]{0} parameter(0), metadata={op_name="state.ema"}
  %scale = f32[40]{0} parameter(1)
  %map = f32[64,40]{1,0} parameter(2)
  %loop_add_fusion = f32[40]{0} fusion(%vector, %scale), kind=kLoop, calls=%fused_slice, metadata={op_name="jit(steps)/add" stack_frame_id=7}, backend_config={"fusion_backend_config":{}}
  %input_reduce_fusion.2 = (f32[40]{0}, f32[40]{0}) fusion(%map), kind=kInput, calls=%fused_reduce
  %get-tuple-element.5 = f32[40]{0} get-tuple-element(%input_reduce_fusion.2), index=0
  %cudnn-conv.1 = (f32[64,40]{1,0}, u8[16]{0}) custom-call(%map), custom_call_target="__cudnn$convForward", metadata={op_name="jit(steps)/stem/conv"}
  %copy-start = ((f32[40]{0}), f32[40]{0}) async-start(%get-tuple-element.5), calls=%wrapped_copy
  %copy-done = f32[40]{0} async-done(%copy-start)
  ROOT %tuple.1 = (f32[40]{0}, f32[40]{0}) tuple(%loop_add_fusion, %copy-done)
}
"""  # noqa: E501


def test_operations_of_a_gpu_program():
    add, reduction, convolution, copy = operations(GPU_PROGRAM)
    assert (add.kind, add.scope, add.bytes) == ("fusion", "jit(steps)/add", 3 * 160)  # of the vector its slice alone
    assert (reduction.kind, reduction.bytes) == ("fusion", 64 * 160 + 2 * 160)
    assert (convolution.kind, convolution.bytes) == ("__cudnn$convForward", 2 * 64 * 160 + 16)
    assert (copy.kind, copy.bytes, copy.times) == ("copy", 2 * 160, 1)


def test_a_fusion_that_also_reads_all_of_an_operand_reads_no_slice():
    program = GPU_PROGRAM.replace(
        "  %param_1 = f32[40]{0} parameter(1)\n  ROOT",
        "  %param_1 = f32[40]{0} parameter(1)\n  %all = f32[] reduce(%param_0), dimensions={0}\n  ROOT",
    )
    assert operations(program)[0].bytes == 4000 * 4 + 2 * 160


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


# Of a step as the compiler for a TPU gives it, shortened: S(1) is the chip's own memory.
TPU_PROGRAM = """HloModule jit_steps, is_scheduled=true

ENTRY %main.3 (x: f32[64,8], y: f32[8]) -> f32[8] {
  %x = f32[64,8]{1,0:T(8,128)} parameter(0)
  %y = f32[8]{0:T(128)} parameter(1)
  %copy-start = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%y)
  %copy-done = f32[8]{0:T(128)S(1)} copy-done(%copy-start)
  %slice-start = ((f32[64,8]{1,0:T(8,128)}), f32[16,8]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:16], [0:8]}
  %slice-done = f32[16,8]{1,0:T(8,128)S(1)} slice-done(%slice-start)
  %all-reduce = f32[8]{0:T(128)S(1)} all-reduce(%copy-done), to_apply=%sum
  ROOT %copy-back = f32[8]{0:T(128)} copy(%all-reduce)
}
"""  # noqa: E501


def test_what_a_tpu_keeps_in_its_own_memory_is_not_moved():
    found = {operation.kind: operation.bytes for operation in operations(TPU_PROGRAM)}
    # The vector is read; of the map a quarter is read, to within the counter beside it; back goes the vector.
    assert found.keys() == {"copy-start", "slice-start", "all-reduce", "copy"}
    assert 32 <= found["copy-start"] <= 40
    assert 16 * 8 * 4 <= found["slice-start"] <= 16 * 8 * 4 + 8
    assert found["all-reduce"] == 0
    assert found["copy"] == 32
