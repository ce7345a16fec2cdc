"""Say how each vendor calls and parametrises an acquisition, as its headers show it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_PLANE_WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "axial": ("Ax", "tra"),
        "axial-tilted": ("Ax Obl", "tra"),
        "sagittal": ("Sag", "sag"),
        "coronal": ("Cor", "cor"),
        "oblique": ("Obl", "obl"),
    }
)

_DESCRIPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "flair": {
            "ge": "{Ax} T2 FLAIR",
            "siemens": "t2_tirm_{tra}_dark-fluid",
            "philips": "FLAIR_longTR {tra}",
            "canon": "FLAIR {Ax}",
        },
        "t1": {"ge": "{Ax} T1", "siemens": "t1_se_{tra}", "philips": "T1W_SE {tra}", "canon": "SE T1 {Ax}"},
        "t1gd": {
            "ge": "{Ax} T1 +C",
            "siemens": "t1_se_{tra}_KM",
            "philips": "T1W_SE_Gd {tra}",
            "canon": "SE T1 {Ax} CE",
        },
        "t2": {
            "ge": "{Ax} T2 FSE",
            "siemens": "t2_tse_{tra}",
            "philips": "T2W_TSE {tra}",
            "canon": "FSE T2 {Ax}",
        },
        "heart": {
            "ge": "{Ax} 3D FIESTA gated",
            "siemens": "trufi3d_nav_{tra}",
            "philips": "3D_bFFE_WholeHeart",
            "canon": "3D SSFP {Ax}",
        },
        "hippocampus": {
            "ge": "{Ax} 3D BRAVO",
            "siemens": "t1_mprage_{tra}_iso",
            "philips": "T1W_3D_TFE {tra}",
            "canon": "T1 3D {Ax}",
        },
        "t2-prostate": {
            "ge": "{Ax} T2 FRFSE prostate",
            "siemens": "t2_tse_{tra}_320",
            "philips": "T2W_TSE_{tra}",
            "canon": "T2 {Ax} pelvis",
        },
        "adc": {
            "ge": "Apparent Diffusion Coefficient (mm2/s)",
            "siemens": "ep2d_diff_{tra}_ADC",
            "philips": "dADC",
            "canon": "ADC {Ax}",
        },
        "dwi": {
            "ge": "{Ax} DWI b800",
            "siemens": "ep2d_diff_{tra}_TRACEW",
            "philips": "DWI_trace b800",
            "canon": "DWI {Ax} trace",
        },
        "liver-ct": {
            "ge": "LIVER PV 3mm",
            "siemens": "Abdomen pv 3.0 B30f",
            "philips": "Portal venous, liver",
            "canon": "Body PV FC08",
        },
        "lung-ct": {
            "ge": "CHEST 1.25 LUNG",
            "siemens": "Thorax 1.2 B70f",
            "philips": "Chest, YC",
            "canon": "Lung FC51",
        },
        "pancreas-ct": {
            "ge": "PANCREAS PV",
            "siemens": "Pankreas pv 2.5 B30f",
            "philips": "Pancreas, portal",
            "canon": "Pancreas PV",
        },
        "vessel-ct": {
            "ge": "LIVER VASC PV",
            "siemens": "Leber pv 5.0 B30f",
            "philips": "Hepatic veins",
            "canon": "Liver vessels PV",
        },
        "spleen-ct": {
            "ge": "ABD/PEL PV",
            "siemens": "Abdomen pv 5.0 B30f",
            "philips": "Abdomen, portal",
            "canon": "Abdomen PV",
        },
        "colon-ct": {
            "ge": "ABD/PEL COLON",
            "siemens": "Becken pv 5.0 B30f",
            "philips": "Abdomen pelvis",
            "canon": "Colon PV",
        },
    }
)
"""Protocol -> vendor -> series description, with a place for the plane in the vendor's spelling."""

_IMAGE_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ge": ("ORIGINAL", "PRIMARY", "OTHER"),
        "siemens": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
        "philips": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
        "canon": ("ORIGINAL", "PRIMARY", "OTHER"),
    }
)

_MR: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "flair": {
            "ScanningSequence": ["SE", "IR"],
            "EchoTime": "94",
            "RepetitionTime": "9000",
            "InversionTime": "2500",
        },
        "t1": {"ScanningSequence": "SE", "EchoTime": "9.1", "RepetitionTime": "540"},
        "t1gd": {
            "ScanningSequence": "SE",
            "EchoTime": "9.1",
            "RepetitionTime": "540",
            "ContrastBolusAgent": "GADOVIST",
        },
        "t2": {"ScanningSequence": "SE", "EchoTime": "101", "RepetitionTime": "4800"},
        "heart": {
            "ScanningSequence": "GR",
            "EchoTime": "1.6",
            "RepetitionTime": "3.3",
            "MRAcquisitionType": "3D",
        },
        "hippocampus": {
            "ScanningSequence": ["GR", "IR"],
            "EchoTime": "3.7",
            "RepetitionTime": "8",
            "InversionTime": "860",
            "MRAcquisitionType": "3D",
        },
        "t2-prostate": {"ScanningSequence": "SE", "EchoTime": "104", "RepetitionTime": "5660"},
        "adc": {"ScanningSequence": "EP", "EchoTime": "63", "RepetitionTime": "2700"},
        "dwi": {
            "ScanningSequence": "EP",
            "EchoTime": "63",
            "RepetitionTime": "2700",
            "DiffusionBValue": 800.0,
        },
    }
)

_CT_KERNELS = {"ge": "STANDARD", "siemens": "B30f", "philips": "B", "canon": "FC08"}


def series_description(protocol: str, vendor: str, plane: str) -> str:
    """Return what the vendor's console calls a series of this protocol and plane."""
    capitals, small = _PLANE_WORDS[plane]
    return _DESCRIPTIONS[protocol][vendor].format(Ax=capitals, tra=small)


def image_type(protocol: str, vendor: str) -> tuple[str, ...]:
    """Return the ImageType of a series as the scanner writes it."""
    if protocol.endswith("-ct"):
        return ("ORIGINAL", "PRIMARY", "AXIAL")
    if protocol == "adc":
        return ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")
    if protocol == "dwi":
        return ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW")
    return _IMAGE_TYPES[vendor]


def parameters(protocol: str, vendor: str) -> dict[str, object]:
    """Return the acquisition's header elements by keyword."""
    if protocol.endswith("-ct"):
        return {
            "KVP": "120",
            "ConvolutionKernel": _CT_KERNELS[vendor],
            "XRayTubeCurrent": "242",
            "ExposureTime": "600",
            "ContrastBolusAgent": "ULTRAVIST 300",
            "RescaleType": "HU",
            "GantryDetectorTilt": "0",
            "ReconstructionDiameter": "360",
        }
    common = {
        "MagneticFieldStrength": "1.5",
        "SequenceVariant": "SK",
        "ScanOptions": "PFP",
        "MRAcquisitionType": "2D",
        "FlipAngle": "90",
        "EchoNumbers": "1",
        "NumberOfAverages": "2",
        "PixelBandwidth": "150",
        "ImagedNucleus": "1H",
    }
    return {**common, **_MR[protocol]}
