"""What each measure of a report says, in a sentence or two."""

from hifill.evaluation.networks import SPLITS

# In full in the functions of these names.
DEFINITIONS = {
    "l1_grey_levels": "Mean absolute difference of photo and result over all pixels and channels, "
    "0 to 255.",
    "l1_percent_of_255": "The same as a percentage of 255: the “l1 (%)” of most papers.",
    "l1_relative_percent": "Sum of absolute differences over the sum of the photo's values, in "
    "percent: dark photos weigh more. Undefined for a black one.",
    "l1_percent_of_sum": "Sum of absolute differences over the sum of both pictures' values, in "
    "percent, as in the code of EdgeConnect: a bright fill improves it.",
    "hole_l1_grey_levels": "The first of these over the hole's pixels alone, 0 to 255.",
    "psnr_db": "10 log10(255² / mean squared difference) over all pixels and channels, in dB; "
    "rises as the hole shrinks. Infinite for equal pictures.",
    "hole_psnr_db": "The same over the hole's pixels alone. Infinite for a perfect fill.",
    "ssim": "Mean structural similarity over Gaussian windows of 11 x 11 pixels and over R, G and "
    "B, at most 1. Undefined if a side is shorter than 11 pixels.",
    "ms_ssim": "Structural similarity on five scales, 0 to 1. Undefined below 161 pixels a side.",
    "sharpness_ratio": "Mean gradient inside the hole over the photo's in a ring around it: below "
    "1 is blurred, above 1 noisy; the photo itself is near 1. Undefined for very thin holes and "
    "flat areas.",
    "sharpness_of_photo": "Mean gradient inside the hole over that of the photo's own content "
    "there, which has exactly 1. Undefined for very thin holes and flat areas.",
    "seam_ratio": "Mean step across the hole's rim over the photo's own steps beside it: above 1 "
    "the rim shows, below 1 the transition is smoother than the photo. Undefined for very thin "
    "holes and flat areas.",
    "lpips_alex": "Learned perceptual distance, version 0.1, of AlexNet's features; 0 upwards. "
    "Undefined below 64 pixels a side.",
    "lpips_vgg": "The same of VGG16's features; not comparable with that of AlexNet.",
}
SET_DEFINITIONS = {
    "fid": "Distance of the normal distributions of Inception's features of all photos and of all "
    "results; 0 upwards. Falls with the number of pictures: compare equal numbers only.",
    "inception_score": "How clear and how varied Inception's classes of the results are, mean of "
    f"{SPLITS} splits; grows with the number of pictures.",
    "p_ids_percent": "Share of results that a linear classifier, fitted to these features, finds "
    "more like a photo than their photo; about 50 at best, 0 with few pictures.",
    "u_ids_percent": "Share of photos and results that this classifier gets wrong; 50 at best, 0 "
    "with few pictures.",
}
