package id

import _ "strings"
