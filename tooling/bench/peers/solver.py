"""The published GPTQ solver (arXiv 2210.17323) for one layer, column by column as its authors' code does it: damped Hessian,
Cholesky, inverse, upper Cholesky of the inverse, blocks of 128 columns. Asymmetric min/max grids; with act-order the grids
of groups are fixed beforehand."""

import torch


def grid(w, bits):
    """Scale and zero point of each row of w, whose range is widened to hold 0."""
    low = w.amin(1).clamp(max=0)
    high = w.amax(1).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale[scale == 0] = 1
    return scale, torch.round(-low / scale)


def solve(w, h, bits=4, group=128, act_order=True, damping=0.01, block=128):
    """w [rows, columns], h [columns, columns] = X^T X; both are overwritten. Returns the rounded weight."""
    rows, columns = w.shape
    group = columns if group == -1 else group
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    static = [grid(w[:, i : i + group], bits) for i in range(0, columns, group)] if act_order or group == columns else []
    order = torch.argsort(torch.diag(h), descending=True) if act_order else torch.arange(columns)
    w, h = w[:, order], h[order][:, order]
    h.diagonal().add_(damping * torch.diag(h).mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    rounded = torch.zeros_like(w)
    top = 2**bits - 1
    for start in range(0, columns, block):
        end = min(start + block, columns)
        part, own = w[:, start:end].clone(), inverse[start:end, start:end]
        errors = torch.zeros_like(part)
        for i in range(end - start):
            column = start + i
            if static:
                scale, zero = static[int(order[column]) // group]
            elif column % group == 0:
                scale, zero = grid(w[:, column : column + group], bits)
            value = (torch.clamp(torch.round(part[:, i] / scale) + zero, 0, top) - zero) * scale
            rounded[:, column] = value
            error = (part[:, i] - value) / own[i, i]
            part[:, i:] -= error.unsqueeze(1) * own[i, i:].unsqueeze(0)
            errors[:, i] = error
        w[:, end:] -= errors @ inverse[start:end, end:]
    return rounded[:, torch.argsort(order)]
