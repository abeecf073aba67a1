"""`thumbnailer deploy`: from a bucket's name to the first thumbnail on AWS.

parameters (templates as data) -> account (who asks, and what is there) -> code (the zip and its bucket) -> stacks
(change sets) -> trial (a sample goes through), removal, costs.
"""

from thumbnailer.errors import ThumbnailerError


class DeployError(ThumbnailerError):
    """Nothing was changed; the message says what to do."""


class DeploymentFailed(ThumbnailerError):
    """AWS was asked for a change and did not finish it; the message says what to do."""
