#!/usr/bin/env python3
"""Reads a JSON report of vn-compare and prints it as --format text does."""
import json
import sys


def word(v):
    """A value; numbers are printed as they stand in the JSON."""
    return "." if v is None else "yes" if v is True else "no" if v is False else v


def walk(path, value):
    if isinstance(value, dict):
        for key, inner in value.items():
            walk(path + [key], inner)
    elif isinstance(value, list):
        name = ".".join(path)
        for i, row in enumerate(value):
            if i == 0:
                print("\t".join([name, *row]))
            print("\t".join([name, *(word(v) for v in row.values())]))
    else:
        print(".".join(path), word(value), sep="\t")


walk([], json.load(sys.stdin, parse_int=str, parse_float=str))
