"""An attentive probe: layers are weighted, moments attended to, and a linear classifier trained."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssast_recipes.evaluation.logistic import hold_out

RATES = (1e-2, 2e-3)  # learning rates that are tried
STEPS, EPOCHS = 400, 20  # so many steps, or so many epochs if these are more
PATIENCE = 8  # judgements, of twenty, without a lower loss on the clips that choose
WEIGHT_DECAY = 0.01
_BATCH = 128
_JUDGEMENTS = 20


class AttentiveProbe(nn.Module):
    """A weighted sum of layers, attention pooling over time, and a linear classifier.

    Arguments
    ---------
    num_layers, width, num_classes : int
        Of the embeddings, and of the task.

    Example
    -------
    >>> AttentiveProbe(3, 8, num_classes=4)(torch.zeros(2, 3, 12, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, num_layers: int, width: int, num_classes: int):
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(num_layers))
        self.query = nn.Parameter(torch.zeros(width))
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, steps: Tensor) -> Tensor:
        """Maps standardised embeddings [clips, layers, steps, width] to logits [clips, classes]."""
        weights = self.layer_weights.softmax(dim=0)
        tokens = torch.einsum("l,clsw->csw", weights, steps)  # [clips, steps, width]
        attention = (tokens @ self.query).softmax(dim=1)  # [clips, steps]
        return self.classifier((attention.unsqueeze(2) * tokens).sum(dim=1))


def attentive_scores(
    known: Tensor,
    targets: Tensor,
    asked: Tensor,
    valid: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> Tensor:
    """Trains an `AttentiveProbe` and scores classes by it.

    Learning rate and number of steps are those of the least loss on validation clips or, without
    these, on a fifth of the known ones, which are not trained on.

    Arguments
    ---------
    known : Tensor
        Embeddings of labelled clips, moment by moment, [known, layers, steps, width].
    targets : Tensor
        Which classes they have, [known, classes], 0 or 1.
    asked : Tensor
        The same of the clips in question, [asked, layers, steps, width].
    valid : tuple[Tensor, Tensor], optional
        Embeddings and targets of validation clips.
    seed : int
        Of the first weights, and of the order of clips.

    Returns
    -------
    Tensor
        Logits, [asked, classes].
    """
    scale = _find_scale(known)
    targets = targets.float()
    if valid is None:
        held = hold_out(targets)
        judges = known[held], targets[held]
        known, targets = known[~held], targets[~held]
    else:
        judges = valid[0], valid[1].float()
    lose = F.binary_cross_entropy_with_logits
    if (targets.sum(dim=1) == 1).all():
        lose = F.cross_entropy
    tried = [_train(known, targets, judges, scale, lose, rate, seed) for rate in RATES]
    _, probe = min(tried, key=lambda one: one[0])
    with torch.no_grad():
        return torch.cat([probe(scale(some)) for some in asked.split(_BATCH)])


def _find_scale(known: Tensor) -> Callable[[Tensor], Tensor]:
    """What gives every dimension of every layer mean 0 and deviation 1 over clips and moments."""
    mean = torch.stack([layer.float().mean(dim=(0, 1)) for layer in known.unbind(dim=1)])
    squares = torch.stack(
        [layer.float().square().mean(dim=(0, 1)) for layer in known.unbind(dim=1)]
    )
    std = (squares - mean.square()).clamp(min=0).sqrt()  # [layers, width]
    std = std.where(std > 1e-6, 1.0)
    return lambda steps: (steps.float() - mean.unsqueeze(1)) / std.unsqueeze(1)


def _train(
    known: Tensor,
    targets: Tensor,
    judges: tuple[Tensor, Tensor],
    scale: Callable[[Tensor], Tensor],
    lose: Callable[[Tensor, Tensor], Tensor],
    rate: float,
    seed: int,
) -> tuple[float, AttentiveProbe]:
    """Trains with one learning rate: the least loss on the judges, and the probe that had it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = AttentiveProbe(known.shape[1], known.shape[3], targets.shape[1])
        optimiser = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
        num_steps = max(STEPS, EPOCHS * -(-len(known) // _BATCH))
        least, best, since = float("inf"), probe.state_dict(), 0
        for step, some in zip(range(1, num_steps + 1), _batches(len(known)), strict=False):
            loss = lose(probe(scale(known[some])), targets[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % -(-num_steps // _JUDGEMENTS) and step < num_steps:
                continue
            judged = _judge(probe, judges, scale, lose)
            since = 0 if judged < least else since + 1
            if judged < least:
                least = judged
                best = {name: one.clone() for name, one in probe.state_dict().items()}
            if since == PATIENCE:
                break
    probe.load_state_dict(best)
    return least, probe


def _batches(num_clips: int) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(num_clips).split(_BATCH)


@torch.no_grad()
def _judge(
    probe: AttentiveProbe,
    judges: tuple[Tensor, Tensor],
    scale: Callable[[Tensor], Tensor],
    lose: Callable[[Tensor, Tensor], Tensor],
) -> float:
    """The mean loss; 0 of no clips, so that the first judgement is the best."""
    if not len(judges[0]):
        return 0.0
    parts = zip(*(part.split(_BATCH) for part in judges), strict=True)
    total = sum(float(lose(probe(scale(steps)), truth)) * len(truth) for steps, truth in parts)
    return total / len(judges[0])
