import torch


def layer_norm(x, weight, bias, epsilon=1e-5):
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon) * weight + bias


def rms_norm(x, weight, epsilon=1e-5):
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + epsilon) * weight
