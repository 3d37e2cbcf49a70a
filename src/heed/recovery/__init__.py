"""The whole next-token distribution out of an API that shows a few words and takes a logit bias; numpy, no torch.

Logits l, p = softmax(l). A bias b on a set S gives p'_v = p_v e^b / Z' for v in S and p_v / Z' for all others:
biased by the same b, two tokens keep their ratio, whatever Z' is. What an API shows decides which method reads p:

    shows p' of the top k             anchor      the likeliest token and k-1 unseen ones, biased alike
    shows p, whatever the bias        forced      each token forced by the largest bias, which shows its own p
    shows no probabilities            bisection   the bias at which a token becomes the likeliest
    only the likeliest are wanted     nucleus     what was seen is banned, the next k show
    its output matrix is known        low-rank    2 d tokens read as above, the others by least squares

Only log p can be known: logits are known up to a shift. All is in nats, all arrays are float64.
"""
