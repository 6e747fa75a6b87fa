"""Units as medical texts write them, converted to SI base units by pint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pint import UnitRegistry

# Each unit of pint, or of `_COUNTED` below, with its spellings. Dietary calories are kilocalories.
SPELLINGS = {
    "kilogram": "kg,kgs,kilogram,kilograms,kilogramme,kilogrammes,kilo,kilos",
    "gram": "g,gm,gms,gram,grams,gramme,grammes",
    "milligram": "mg,mgs,milligram,milligrams,milligramme,milligrammes",
    "microgram": "mcg,ug,µg,μg,microgram,micrograms,microgramme,microgrammes",
    "nanogram": "ng,nanogram,nanograms",
    "picogram": "pg,picogram,picograms",
    "pound": "lb,lbs,pound,pounds",
    "ounce": "oz,ounce,ounces",
    "liter": "l,liter,liters,litre,litres",
    "deciliter": "dl,deciliter,deciliters,decilitre,decilitres",
    "milliliter": "ml,mls,cc,milliliter,milliliters,millilitre,millilitres,cubic centimeter,"
    "cubic centimeters,cm3,cm³",
    "microliter": "ul,µl,μl,microliter,microliters,microlitre,microlitres,mm3,mm³,"
    "cubic millimeter,cubic millimeters,cubic millimetre",
    "teaspoon": "tsp,teaspoon,teaspoons,teaspoonful",
    "tablespoon": "tbsp,tablespoon,tablespoons,tablespoonful",
    "cup": "cup,cups",
    "fluid_ounce": "fl oz,fluid ounce,fluid ounces",
    "quart": "quart,quarts",
    "gallon": "gallon,gallons",
    "kilometer": "km,kilometer,kilometers,kilometre,kilometres",
    "meter": "m,meter,meters,metre,metres",
    "centimeter": "cm,cms,centimeter,centimeters,centimetre,centimetres",
    "millimeter": "mm,millimeter,millimeters,millimetre,millimetres",
    "micrometer": "um,µm,μm,micron,microns,micrometer,micrometers,micrometre",
    "mile": "mile,miles",
    "inch": "inch,inches",
    "foot": "ft,foot,feet",
    "meter ** 2": "m2,m²,square meter,square meters,square metre,square metres",
    "second": "sec,secs,second,seconds",
    "millisecond": "ms,msec,millisecond,milliseconds",
    "minute": "min,mins,minute,minutes",
    "hour": "h,hr,hrs,hour,hours",
    "day": "d,day,days",
    "week": "wk,wks,week,weeks",
    "month": "mo,mos,month,months",
    "year": "yr,yrs,year,years",
    "decade": "decade,decades",
    "degC": "°c,ºc,° c,degrees c,degree c,degrees celsius,degree celsius,deg c,celsius",
    "degF": "°f,ºf,° f,degrees f,degree f,degrees fahrenheit,degree fahrenheit,deg f,fahrenheit",
    "mmHg": "mmhg,mm hg",
    "cmH2O": "cmh2o,cm h2o",
    "kilopascal": "kpa",
    "kilocalorie": "kcal,kcals,calorie,calories,kilocalorie,kilocalories",
    "kilojoule": "kj,kilojoule,kilojoules",
    "mole": "mol,mole,moles",
    "millimole": "mmol,mmols,millimole,millimoles",
    "micromole": "umol,µmol,μmol,micromole,micromoles",
    "nanomole": "nmol,nanomole,nanomoles",
    "picomole": "pmol,picomole,picomoles",
    "millimolar": "mM",
    "micromolar": "uM,µM,μM",
    "nanomolar": "nM",
    "percent": "%,percent,per cent,percentage",
    "gray": "gy,gray,grays",
    "sievert": "sv,sievert,sieverts",
    "millisievert": "msv,millisievert,millisieverts",
    "hertz": "hz,hertz",
    "kilohertz": "khz",
    "decibel_level": "db,decibel,decibels",
    "international_unit": "iu,ius,international unit,international units",
    "dosing_unit": "u,unit,units",
    "milliequivalent": "meq,meqs,milliequivalent,milliequivalents",
    "beat / minute": "bpm,beats per minute,beats/min,beats a minute",
    "breath / minute": "breaths per minute,breaths/min,breaths a minute",
    "cell": "cell,cells",
    "tablet": "tablet,tablets,pill,pills,capsule,capsules,caplet,caplets",
    "dose": "dose,doses",
    "drop": "drop,drops",
    "puff": "puff,puffs",
    "injection": "injection,injections,shot,shots",
    "serving": "serving,servings,portion,portions",
    "glass": "glass,glasses",
    "drink": "drink,drinks",
    "person": "person,persons,people,patient,patients,individual,individuals,adult,adults,child,"
    "children,man,men,woman,women,baby,babies,infant,infants,newborn,newborns,boy,boys,girl,girls,"
    "birth,births,live births,case,cases,male,males,female,females,americans",
}

# Things that are counted or have no SI unit: each is a dimension of its own.
_COUNTED = (
    *("decibel_level", "international_unit", "dosing_unit", "beat", "breath", "cell", "tablet"),
    *("dose", "drop", "puff", "injection", "serving", "glass", "drink", "person"),
)

TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|(?<![\w.])\.\d+|[½¼¾⅓⅔])"
    r"|[^\W\d_½¼¾⅓⅔]+|[^\w\s]"
)
"""A number, a word or a symbol."""

_UNITS = {
    tuple(match.group() for match in TOKEN.finditer(spelling)): unit
    for unit, spellings in SPELLINGS.items()
    for spelling in spellings.split(",")
}
_LONGEST = max(map(len, _UNITS))

UNIT_WORDS = frozenset(token for tokens in _UNITS for token in tokens)
"""Tokens of which units are written."""

PERIODS = frozenset({"day", "week", "month", "year"})


@dataclass(frozen=True)
class Scale:
    """How a unit is converted.

    Attributes:
        dimension: such as `[mass]`; only quantities of one dimension are compared.
        factor: SI base units per unit.
        offset: SI base units at 0; not 0 for degrees only.
    """

    dimension: str
    factor: float
    offset: float = 0.0


def unit_at(tokens: Sequence[str], place: int) -> tuple[str, int] | None:
    """Return pint's name of the unit that starts at a token, and the place behind it; None if none.

    Args:
        tokens: of a text, by `TOKEN`.
        place: of the unit's first token.
    """
    for length in range(min(_LONGEST, len(tokens) - place), 0, -1):
        spelling = tuple(tokens[place : place + length])
        # As it is written first: mM is not mm.
        unit = _UNITS.get(spelling) or _UNITS.get(tuple(token.lower() for token in spelling))
        if unit is not None:
            return unit, place + length
    return None


@lru_cache(1024)
def scale(unit: str) -> Scale:
    """Return how a unit is converted.

    Args:
        unit: in pint's words, such as "milligram / deciliter".
    """
    registry = _registry()
    zero, one = (registry.Quantity(value, unit).to_base_units() for value in (0.0, 1.0))
    offset = float(zero.magnitude)
    return Scale(str(one.dimensionality), float(one.magnitude) - offset, offset)


@cache
def _registry() -> UnitRegistry[float]:
    from pint import UnitRegistry

    registry: UnitRegistry[float] = UnitRegistry(autoconvert_offset_to_baseunit=True)
    for name in _COUNTED:
        registry.define(f"{name} = [{name}]")
    # Its own dimension: how many moles it is depends on the ion's charge.
    registry.define("equivalent = [charge_equivalent]")
    return registry
