"""Steps of optimizers, written once: one parameter.  The hyperparameters are of the parameter's type."""

from math import sqrt


def descend(parameter, gradient, learning_rate, weight_decay):
    """Gradient descent: the new parameter."""
    return parameter - learning_rate * (gradient + weight_decay * parameter)


def descend_with_momentum(parameter, gradient, velocity, learning_rate, weight_decay, momentum, nesterov):
    """(new parameter, new velocity)"""
    gradient = gradient + weight_decay * parameter
    velocity = momentum * velocity + gradient
    direction = gradient + momentum * velocity if nesterov else velocity
    return parameter - learning_rate * direction, velocity


def adam(parameter, gradient, mean, square, rates):
    """(new parameter, new mean of the gradient, new mean of its square); ``rates`` as ``adam_rates`` gives them."""
    step, shrink, weight_decay, keep_mean, add_mean, keep_square, add_square, root, epsilon = rates
    gradient = gradient + weight_decay * parameter
    mean = keep_mean * mean + add_mean * gradient
    square = keep_square * square + add_square * (gradient * gradient)
    return shrink * parameter - step * mean / (sqrt(square) * root + epsilon), mean, square


def adam_rates(step, learning_rate, beta1, beta2, epsilon, weight_decay, decoupled):
    """What one step needs of Adam's hyperparameters: plain numbers, worked out once a step.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, its bias corrections folded into the step's length and
    into the root; decoupled weight decay from Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
    """
    return (
        learning_rate / (1 - beta1**step),
        1 - learning_rate * weight_decay if decoupled else 1.0,
        0.0 if decoupled else weight_decay,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        1 / sqrt(1 - beta2**step),
        epsilon,
    )
