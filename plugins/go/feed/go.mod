module feed

go 1.24
