"""How good filled photos are: measures that each say their formula, unit and direction.

`metrics.measure` takes all that need no weights, for one photo. Those of a single photo with
weights are in `lpips`; those of whole sets of photos in `frechet_distance`, `inception_score` and
`discriminative_score`, on features that `inception_features` extracts.
"""
