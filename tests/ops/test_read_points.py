"""Reading points of maps: the compiled kernels against the plain form, which is the judge."""

import pytest
import torch

from napari_rwkv_seg.ops import read_points, read_points_reference

# (grids, heads, channels of a head, points, queries): sizes that no vector divides
CASES = {
    "one level": ([(5, 7)], 2, 4, 4, 11),
    "three levels": ([(6, 4), (3, 2), (1, 1)], 3, 19, 4, 70),
    "as shipped": ([(8, 6), (4, 3), (2, 2)], 6, 32, 4, 12),
    "wide heads": ([(3, 3)], 1, 87, 1, 5),
    "many points": ([(4, 4)], 2, 8, 128, 3),
    "more points than kernels take": ([(4, 4)], 2, 8, 129, 3),
}


def inputs_of(case, batch=2, reach=2.0, dtype=torch.float32):
    grids, heads, length, points, queries = CASES[case]
    generator = torch.Generator().manual_seed(42)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    count = sum(height * width for height, width in grids)
    shape = (batch, queries, heads, len(grids), points)
    values = normal(batch, count, heads * length)
    offsets, scores = normal(*shape, 2), normal(*shape)
    places = torch.rand(queries, 2, generator=generator, dtype=dtype) * 2 - 1
    return [values, places, reach * offsets, 3 * scores], grids


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_plain_form(case):
    inputs, grids = inputs_of(case)
    differentiable = [inputs[i].requires_grad_() for i in (0, 2, 3)]
    got, want = read_points(*inputs, grids), read_points_reference(*inputs, grids)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(want)
    for mine, theirs in zip(
        torch.autograd.grad(got, differentiable, direction),
        torch.autograd.grad(want, differentiable, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_the_gradient_by_the_places_is_that_of_the_plain_form():
    inputs, grids = inputs_of("three levels")
    for x in inputs:
        x.requires_grad_()
    compiled = torch.compile(read_points, backend="aot_eager", fullgraph=True)
    got, again, want = (f(*inputs, grids) for f in (read_points, compiled, read_points_reference))
    slopes = [torch.autograd.grad(x.square().sum(), inputs) for x in (got, again, want)]
    for mine, compiled_slope, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, theirs)
        torch.testing.assert_close(compiled_slope, theirs)


def test_float32_is_as_good_as_float64():
    inputs, grids = inputs_of("as shipped")
    want = read_points_reference(*[x.double() for x in inputs], grids)
    error = (read_points(*inputs, grids) - want).norm() / want.norm()
    assert error < 1e-6


def test_the_plain_form_agrees_with_finite_differences():
    inputs, grids = inputs_of("one level", batch=1, reach=0.3, dtype=torch.float64)
    for i in (0, 2, 3):
        inputs[i].requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: read_points(*x, grids), inputs)


def test_what_lies_far_outside_is_zero():
    inputs, grids = inputs_of("three levels")
    inputs[2].fill_(1e30)
    assert not read_points(*inputs, grids).any()
    inputs[2].fill_(-1e30).requires_grad_()
    read_points(*inputs, grids).sum().backward()
    assert not inputs[2].grad.any()


def test_a_score_that_is_not_a_number_spoils_its_query_and_head_alone():
    inputs, grids = inputs_of("as shipped", reach=0.1)
    inputs[1].zero_()  # in the middle, so that something is read
    inputs[3][1, 4, 2, 0, 0] = torch.nan
    spoilt = read_points(*inputs, grids).isnan()
    assert spoilt[1, 4, 64:96].all()
    assert spoilt.sum() == 32


def test_results_do_not_depend_on_the_number_of_threads():
    inputs, grids = inputs_of("three levels")
    for i in (0, 2, 3):
        inputs[i].requires_grad_()
    before, results = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        read = read_points(*inputs, grids)
        results.append([read, *torch.autograd.grad(read.sum(), [inputs[0], *inputs[2:]])])
    torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_half_precision_keeps_the_dtype_of_the_values():
    inputs, grids = inputs_of("as shipped")
    want = read_points(*inputs, grids)
    inputs[0] = inputs[0].bfloat16()
    got = read_points(*inputs, grids)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=5e-2, rtol=5e-2)


def test_both_operators_pass_opcheck():
    inputs, grids = inputs_of("one level", batch=1)
    inputs = [x.requires_grad_(i != 1) for i, x in enumerate(inputs)]
    sides = [side for grid in grids for side in grid]
    operators = torch.ops.napari_rwkv_seg
    torch.library.opcheck(operators.read_points, (*inputs, sides))
    read = operators.read_points(*inputs, sides).detach()
    plain = [x.detach() for x in inputs]
    torch.library.opcheck(operators.read_points_backward, (*plain, sides, read))


def test_it_compiles_without_a_graph_break():
    inputs, grids = inputs_of("three levels")
    for i in (0, 2, 3):
        inputs[i].requires_grad_()
    compiled = torch.compile(read_points, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*inputs, grids), read_points(*inputs, grids))


def test_gradients_of_gradients_are_refused_with_the_way_out():
    inputs, grids = inputs_of("one level")
    values = inputs[0].requires_grad_()
    (slope,) = torch.autograd.grad(
        read_points(*inputs, grids).square().sum(), values, create_graph=True
    )
    with pytest.raises(RuntimeError, match="read_points_reference"):
        slope.sum().backward()


@pytest.mark.parametrize("wrong", range(4))
def test_shapes_that_do_not_agree_are_an_error_that_names_them(wrong):
    inputs, grids = inputs_of("one level")
    inputs[wrong] = inputs[wrong][:, :-1]
    with pytest.raises(ValueError, match="read_points takes values"):
        read_points(*inputs, grids)


def test_grids_that_do_not_cover_the_tokens_are_an_error():
    inputs, _ = inputs_of("one level")
    with pytest.raises(ValueError, match=r"areas add up to N.*\[\(5, 6\)\]"):
        read_points(*inputs, [(5, 6)])


def test_the_kernels_refuse_what_they_were_not_made_for():
    inputs, _ = inputs_of("one level")
    operator = torch.ops.napari_rwkv_seg.read_points
    with pytest.raises(TypeError, match="call read_points instead"):
        operator(inputs[0].double(), *inputs[1:], [5, 7])
    with pytest.raises(ValueError, match="areas add up to N"):
        operator(*inputs, [5, 6])
    with pytest.raises(ValueError, match="shorter"):
        operator(*inputs, [5, 7, 1])
    with pytest.raises(RuntimeError, match="read_points failed"):
        operator(*inputs, [-5, -7])


@pytest.mark.parametrize("wrong", range(4))
def test_neither_operator_reads_arrays_of_other_sizes(wrong):
    inputs, _ = inputs_of("one level")
    read = torch.ops.napari_rwkv_seg.read_points(*inputs, [5, 7])
    inputs[wrong] = inputs[wrong][:-1] if wrong == 1 else inputs[wrong][:, :-1]
    with pytest.raises(ValueError, match="read_points takes values"):
        torch.ops.napari_rwkv_seg.read_points(*inputs, [5, 7])
    with pytest.raises(ValueError, match="read_points takes values"):
        torch.ops.napari_rwkv_seg.read_points_backward(*inputs, [5, 7], read)


def test_the_backward_operator_takes_what_was_read_only():
    inputs, _ = inputs_of("one level")
    read = torch.ops.napari_rwkv_seg.read_points(*inputs, [5, 7])
    backward = torch.ops.napari_rwkv_seg.read_points_backward
    with pytest.raises(ValueError, match=r"takes by_read \(B, Q, C\) = \(2, 11, 8\)"):
        backward(*inputs, [5, 7], read[:, :-1])
    with pytest.raises(TypeError, match=r"got torch\.float16"):
        backward(*inputs, [5, 7], read.half())


def test_no_queries_read_nothing():
    inputs, grids = inputs_of("one level")
    values, places, offsets, scores = inputs
    assert read_points(values, places[:0], offsets[:, :0], scores[:, :0], grids).shape == (2, 0, 8)
