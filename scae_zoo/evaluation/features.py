"""How much features know: k-nearest neighbours and a linear classifier."""

import torch

from ..extras import training_extra


def knn_accuracy(
        train: torch.Tensor,
        train_targets: torch.Tensor,
        test: torch.Tensor,
        test_targets: torch.Tensor,
        neighbours: int = 20,
) -> float:
    """Accuracy in percent of a k-nearest-neighbour vote by cosine distance, on N x C features."""
    with training_extra():
        from sklearn.neighbors import KNeighborsClassifier
    vote = KNeighborsClassifier(min(neighbours, len(train)), metric='cosine', algorithm='brute')
    vote.fit(train.numpy(), train_targets.numpy())
    return 100 * float(vote.score(test.numpy(), test_targets.numpy()))


def linear_accuracy(
        train: torch.Tensor,
        train_targets: torch.Tensor,
        test: torch.Tensor,
        test_targets: torch.Tensor,
) -> float:
    """Accuracy in percent of a logistic regression on N x C features, standardised by those of training."""
    with training_extra():
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train.double().numpy(), train_targets.numpy())
    return 100 * float(model.score(test.double().numpy(), test_targets.numpy()))
