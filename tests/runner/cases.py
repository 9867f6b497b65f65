"""Inputs that broke searches, made from nothing: an invented protein and the calculated fragments of its peptides.

Small files of each kind, and what people's programs make of them: cut off, with holes, with wrong counts, in other encodings.
"""

import base64
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MASSES = {
    "G": 57.02146, "A": 71.03711, "S": 87.03203, "P": 97.05276, "V": 99.06841, "T": 101.04768, "L": 113.08406, "N": 114.04293,
    "D": 115.02694, "Q": 128.05858, "K": 128.09496, "E": 129.04259, "M": 131.04049, "H": 137.05891, "F": 147.06841,
    "R": 156.10111, "Y": 163.06333, "W": 186.07931,
}  # fmt: skip
PEPTIDES = (
    "SAVELDTFGNK",
    "LTYDEAPWVQR",
    "GFNSTEHLAAK",
    "VDWPLEYTGSR",
    "AEQFTNLHVGK",
    "YLSDPETVWAR",
    "NGTAFEVLDHK",
    "QLPSVYTEWDR",
)
OTHERS = ("MTESLGVDAYK", "FEHNTALWPSR", "DLVQSGTEYAK")
FASTA = f">sp|X00001|ONE_TEST one\nMKR{''.join(PEPTIDES)}\n>sp|X00002|TWO_TEST two\nMKR{''.join(OTHERS)}\n".encode()
PROTON, WATER = 1.00728, 18.01056


def fragments(peptide: str) -> list[tuple[float, float]]:
    """m/z and intensity of its b and y ions."""
    masses = [MASSES[one] for one in peptide]
    starts = [(sum(masses[:length]) + PROTON, 40.0) for length in range(1, len(masses))]
    ends = [(sum(masses[-length:]) + WATER + PROTON, 100.0) for length in range(1, len(masses))]
    return sorted(starts + ends)


def precursor(peptide: str) -> float:
    """Its m/z with two protons."""
    return (sum(MASSES[one] for one in peptide) + WATER + 2 * PROTON) / 2


def prefixed(xml: bytes, prefix: bytes = b"ms") -> bytes:
    """The same XML as programs write it that know namespaces."""
    named = re.sub(rb"(</?)(?=[A-Za-z])", rb"\1" + prefix + b":", xml)
    return named.replace(b" xmlns=", b" xmlns:" + prefix + b"=")


@dataclass(frozen=True)
class Form:
    """How an mzML file is written. ``name``: a spectrum's id by its number."""

    compressed: bool = False
    index: bool = True
    name: Callable[[int], str] = "scan={}".format
    peptides: Sequence[str] = PEPTIDES


def _array(values: Sequence[float], accession: str, name: str, form: Form) -> str:
    data = struct.pack(f"<{len(values)}d", *values)
    text = base64.b64encode(zlib.compress(data) if form.compressed else data).decode()
    how = ("MS:1000574", "zlib compression") if form.compressed else ("MS:1000576", "no compression")
    terms = (("MS:1000523", "64-bit float"), how, (accession, name))
    written = "".join(f'<cvParam cvRef="MS" accession="{one}" name="{other}"/>' for one, other in terms)
    return f'<binaryDataArray encodedLength="{len(text)}">{written}<binary>{text}</binary></binaryDataArray>'


def _spectrum(number: int, peptide: str, form: Form) -> str:
    peaks = fragments(peptide)
    arrays = _array([mz for mz, _ in peaks], "MS:1000514", "m/z array", form)
    arrays += _array([height for _, height in peaks], "MS:1000515", "intensity array", form)
    terms = "".join(
        f'<cvParam cvRef="MS" accession="{accession}" name="{name}" value="{value}"/>'
        for accession, name, value in (
            ("MS:1000580", "MSn spectrum", ""),
            ("MS:1000511", "ms level", "2"),
            ("MS:1000127", "centroid spectrum", ""),
        )
    )
    ion = (
        f'<cvParam cvRef="MS" accession="MS:1000744" name="selected ion m/z" value="{precursor(peptide):.5f}"/>'
        '<cvParam cvRef="MS" accession="MS:1000041" name="charge state" value="2"/>'
    )
    return (
        f'<spectrum index="{number}" id="{form.name(number + 1)}" defaultArrayLength="{len(peaks)}">{terms}'
        '<scanList count="1"><cvParam cvRef="MS" accession="MS:1000795" name="no combination"/><scan>'
        f'<cvParam cvRef="MS" accession="MS:1000016" name="scan start time" value="{10 + number}" unitCvRef="UO" '
        'unitAccession="UO:0000010" unitName="second"/></scan></scanList>'
        f'<precursorList count="1"><precursor><selectedIonList count="1"><selectedIon>{ion}</selectedIon></selectedIonList>'
        '<activation><cvParam cvRef="MS" accession="MS:1000133" name="collision-induced dissociation"/></activation>'
        f'</precursor></precursorList><binaryDataArrayList count="2">{arrays}</binaryDataArrayList></spectrum>'
    )


_HEAD = (
    '<mzML xmlns="http://psi.hupo.org/ms/mzml" id="run" version="1.1.0"><cvList count="2">'
    '<cv id="MS" fullName="PSI-MS" version="4.1" URI="x"/><cv id="UO" fullName="UO" URI="x"/></cvList><fileDescription>'
    '<fileContent><cvParam cvRef="MS" accession="MS:1000580" name="MSn spectrum"/></fileContent></fileDescription>'
    '<softwareList count="1"><software id="s" version="1"/></softwareList><instrumentConfigurationList count="1">'
    '<instrumentConfiguration id="ic"/></instrumentConfigurationList><dataProcessingList count="1"><dataProcessing id="dp">'
    '<processingMethod order="0" softwareRef="s"><cvParam cvRef="MS" accession="MS:1000544" name="Conversion to mzML"/>'
    "</processingMethod></dataProcessing></dataProcessingList>"
)


def mzml(form: Form | None = None) -> bytes:
    """A file of mzML with a spectrum of each peptide."""
    form = form or Form()
    text = '<?xml version="1.0" encoding="utf-8"?>\n'
    text += '<indexedmzML xmlns="http://psi.hupo.org/ms/mzml">\n' * form.index + _HEAD
    text += f'<run id="run" defaultInstrumentConfigurationRef="ic"><spectrumList count="{len(form.peptides)}" '
    text += 'defaultDataProcessingRef="dp">\n'
    places = []
    for number, peptide in enumerate(form.peptides):
        places.append(len(text))
        text += _spectrum(number, peptide, form) + "\n"
    text += "</spectrumList></run></mzML>\n"
    if form.index:
        offsets = "".join(f'<offset idRef="{form.name(number)}">{place}</offset>\n' for number, place in enumerate(places, 1))
        text += f'<indexList count="1"><index name="spectrum">\n{offsets}</index></indexList>\n<indexListOffset>{len(text)}'
        text += "</indexListOffset>\n<fileChecksum>0</fileChecksum></indexedmzML>\n"
    return text.encode()


def mzxml(*, compressed: bool = False, peptides: Sequence[str] = PEPTIDES) -> bytes:
    """The same as mzXML, with its index."""
    text = f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<mzXML><msRun scanCount="{len(peptides)}">\n'
    places = []
    for number, peptide in enumerate(peptides, 1):
        peaks = fragments(peptide)
        data = b"".join(struct.pack(">2d", *peak) for peak in peaks)
        packed = zlib.compress(data) if compressed else data
        how = f'compressionType="{"zlib" if compressed else "none"}" compressedLen="{len(packed) if compressed else 0}"'
        places.append(len(text))
        text += f'<scan num="{number}" msLevel="2" centroided="1" peaksCount="{len(peaks)}" retentionTime="PT{9 + number}S">'
        text += f'<precursorMz precursorCharge="2" precursorIntensity="0">{precursor(peptide):.5f}</precursorMz>'
        text += f'<peaks {how} precision="64" byteOrder="network" contentType="m/z-int">'
        text += f"{base64.b64encode(packed).decode()}</peaks></scan>\n"
    text += "</msRun>\n"
    offsets = "".join(f'<offset id="{number}">{place}</offset>' for number, place in enumerate(places, 1))
    text += f'<index name="scan">{offsets}</index>\n<indexOffset>{len(text)}</indexOffset>\n<sha1>0</sha1></mzXML>\n'
    return text.encode()


def mgf(peptides: Sequence[str] = PEPTIDES) -> bytes:
    """The same as mgf."""
    return "".join(
        f"BEGIN IONS\nTITLE=s{number}\nPEPMASS={precursor(peptide):.5f}\nCHARGE=2+\nRTINSECONDS={9 + number}\n"
        + "".join(f"{mz:.5f} {height}\n" for mz, height in fragments(peptide))
        + "END IONS\n"
        for number, peptide in enumerate(peptides, 1)
    ).encode()


def merged(number: int) -> str:
    """An id as programs write it for ion mobility."""
    return f"merged={number} frame={number} scanStart=1 scanEnd=20"


def with_wrong_offsets(text: bytes) -> bytes:
    """The same with an index that leads forty bytes too far."""
    return re.sub(rb"(<offset [^>]*>)(\d+)", lambda found: found[1] + str(int(found[2]) + 40).encode(), text)


def blank(text: str = "") -> str:
    """The smallest mzML that is whole: one spectrum without a peak. ``text``: a note in it."""
    spectrum = '<spectrum index="0" id="scan=1" defaultArrayLength="0"/>'
    return f'<mzML><!-- {text} --><run><spectrumList count="1">{spectrum}</spectrumList></run></mzML>\n'
