"""Words that name a contour or segment and no person: what may stay of its name without a task's rules."""

from __future__ import annotations

import re

_WORDS = """
GTV CTV PTV ITV IGTV GTVp GTVn CTVp CTVn PRV OAR ROI VOI boost primary nodal metastasis metastases mets
mass tumor tumour tumors tumours lesion lesions nodule nodules node nodes cancer cyst cysts edema oedema necrosis
necrotic enhancing non core whole active bleeding
CT CBCT MR MRI PET PT T1 T1w T1c T1gd T2 T2w FLAIR ADC DWI DCE
left right l r lt rt anterior posterior ant post superior inferior medial lateral central peripheral transition
transitional zone PZ TZ CZ upper lower middle lobe segment part head body tail total
brain brainstem stem cerebellum hippocampus amygdala hypophysis pituitary chiasm chiasma optic nerve eye lens cochlea
parotid submandibular gland oral cavity mandible larynx pharynx thyroid trachea esophagus oesophagus bronchus lung
lungs heart atrium ventricle pericardium myocardium LV RV LA RA aorta vena cava artery arteries vein veins vessel
vessels portal hepatic splenic liver spleen pancreas gallbladder bile duct duodenum stomach bowel intestine colon
sigmoid rectum anus kidney kidneys adrenal ureter bladder prostate seminal vesicle vesicles urethra penile bulb uterus
cervix vagina ovary breast breasts fibroglandular muscle fat bone bones femur femoral pelvis pelvic sacrum vertebra
vertebrae spine spinal cord canal marrow rib ribs sternum skull skin external tissue background contour outline
green orange purple blue red yellow light dark
"""

IGNORED_NAME = re.compile(r"ignored-\d{1,5}")
"""What stands for the name of a drawing that a task's rules leave out: their patterns may let anything follow."""

_WORD = "|".join(sorted(_WORDS.split(), key=len, reverse=True))

ANNOTATION_NAMES: tuple[re.Pattern[str], ...] = (
    re.compile(
        rf"(?:{_WORD})[0-9]{{0,2}}(?:[ _.+-]+(?:(?:{_WORD})[0-9]{{0,2}}|[0-9]{{1,2}}))*", re.IGNORECASE
    ),
)
"""A name passes if all of it is made of anatomical and radiotherapy words, with numbers of up to two digits."""
