#!/usr/bin/env node
console.error('usage: q plan|quantize|eval|inspect');
